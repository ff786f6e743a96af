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

// Returns an ImageData of the mask's size, painted with [red, green, blue] where the mask is set.
export function paint(mask, [red, green, blue], alpha = 120) {
  const [height, width] = mask.size;
  const image = new ImageData(width, height);
  let position = 0, set = false;
  for (const length of runs(mask.counts)) {
    if (set) {
      for (let p = position; p < position + length; p++) {
        const at = 4 * ((p % height) * width + Math.floor(p / height)); // runs go down the columns
        image.data.set([red, green, blue, alpha], at);
      }
    }
    position += length;
    set = !set;
  }
  return image;
}
