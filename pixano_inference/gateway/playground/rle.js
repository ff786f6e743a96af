// COCO's compressed run-length encoding: see pixano_inference/schemas/rle.py for the format.

function runs(counts) {
  const lengths = [];
  for (let at = 0; at < counts.length; ) {
    let value = 0, shift = 0, code;
    do {
      code = counts.charCodeAt(at++) - 48;
      value |= (code & 31) << shift;
      shift += 5;
    } while (code & 32);
    if (code & 16) value |= -1 << shift;
    if (lengths.length > 2) value += lengths[lengths.length - 2];
    lengths.push(value);
  }
  return lengths;
}

// Returns an ImageData of the mask's size: [red, green, blue] where the mask is set, dense along its border, so that it can
// be told from any color below it.
export function paint(mask, color, alpha = 110, border = 255) {
  const [height, width] = mask.size;
  const inside = new Uint8Array(height * width);
  let position = 0, set = 0;
  for (const length of runs(mask.counts)) {
    inside.fill(set, position, position + length);
    position += length;
    set = 1 - set;
  }
  const image = new ImageData(width, height);
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const at = x * height + y; // runs go down the columns
      if (!inside[at]) continue;
      const within = y > 0 && y < height - 1 && inside[at - 1] && inside[at + 1] && inside[at - height] && inside[at + height];
      image.data.set([...color, within ? alpha : border], 4 * (y * width + x));
    }
  }
  return image;
}
