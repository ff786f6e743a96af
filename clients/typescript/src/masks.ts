import type { CompressedRLE } from "./types.js";

/** A mask as pixels, row by row: 1 is foreground. */
export interface Mask {
  width: number;
  height: number;
  data: Uint8Array;
}

/** Run lengths over the column-major mask, background first (the code of the COCO API). */
export function runLengths(counts: string): number[] {
  const runs: number[] = [];
  let position = 0;
  while (position < counts.length) {
    let value = 0;
    let shift = 0;
    let more = true;
    while (more) {
      const code = counts.charCodeAt(position++) - 48;
      if (!(code >= 0 && code < 64) || shift > 30) throw new RangeError("counts is not a COCO compressed RLE string");
      value += (code & 0x1f) * 2 ** shift;
      shift += 5;
      more = (code & 0x20) !== 0;
      if (!more && (code & 0x10) !== 0) value -= 2 ** shift;
    }
    // from the fourth on, a number is the difference to the run two before it
    runs.push(runs.length > 2 ? value + (runs[runs.length - 2] as number) : value);
  }
  return runs;
}

/** Decode a mask to pixels. */
export function decodeMask(rle: CompressedRLE): Mask {
  const [height, width] = rle.size;
  const data = new Uint8Array(width * height);
  let place = 0;
  let foreground = false;
  for (const run of runLengths(rle.counts)) {
    if (run < 0 || place + run > data.length) throw new RangeError("counts does not cover the size");
    if (foreground) {
      for (let index = place; index < place + run; index++) {
        data[(index % height) * width + Math.floor(index / height)] = 1;
      }
    }
    place += run;
    foreground = !foreground;
  }
  if (place !== data.length) throw new RangeError("counts does not cover the size");
  return { width, height, data };
}
