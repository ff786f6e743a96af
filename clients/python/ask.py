"""Ask a question about an image; the answer is printed as it is written.

python clients/python/ask.py photo.jpg "How many dogs are there?"
"""

from __future__ import annotations

import asyncio

from example import arguments, model_for

from pixano_inference.client import PixanoInferenceClient, vlm_request


async def main() -> None:
    """Stream the answer, then say what it cost."""
    parser = arguments(__doc__)
    parser.add_argument("image", help="path or URL")
    parser.add_argument("question")
    parser.add_argument("--tokens", type=int, default=64, help="most tokens to generate")
    options = parser.parse_args()
    async with PixanoInferenceClient.connect(options.url, api_key=options.api_key) as client:
        model = options.model or model_for(client, "vlm")
        request = vlm_request(model, options.question, options.image, max_new_tokens=options.tokens, temperature=0)
        async with client.stream_vlm(request) as stream:
            async for text in stream:
                print(text, end="", flush=True)
    print()
    if stream.end is not None and stream.end.data is not None:
        usage = stream.end.data.usage
        print(f"{usage.completion_tokens} tokens in {stream.end.processing_time:.2f} s")


if __name__ == "__main__":
    asyncio.run(main())
