"""Images and videos: fetching their bytes under one policy, and decoding them."""
