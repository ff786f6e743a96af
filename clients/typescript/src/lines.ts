/** Yield the lines of a body, however the network has cut it. Leaving the loop cancels the body. */
export async function* lines(body: ReadableStream<Uint8Array>): AsyncGenerator<string, void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      // the line feed alone ends a line: text may hold the other characters that count as the end of one
      const parts = (rest + decoder.decode(value, { stream: !done })).split("\n");
      rest = parts.pop() ?? "";
      for (const line of parts) if (line.trim() !== "") yield line;
      if (done) return;
    }
  } finally {
    await reader.cancel();
  }
}
