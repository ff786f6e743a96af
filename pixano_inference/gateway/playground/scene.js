// Examples to try: coloured shapes, drawn here so that the page needs no file.

const COLORS = { red: "#d92b2b", green: "#2ba84a", blue: "#2b57d9", yellow: "#e6c72b", purple: "#8a35b8", orange: "#ee8022" };
const SHAPES = ["circle", "square", "triangle"];

function outline(context, shape, x, y, r) {
  context.beginPath();
  if (shape === "circle") context.arc(x, y, r, 0, 2 * Math.PI);
  else if (shape === "square") context.rect(x - r, y - r, 2 * r, 2 * r);
  else [0, 1, 2].forEach((k) => context.lineTo(x + 1.2 * r * Math.sin((k * 2 * Math.PI) / 3), y - 1.2 * r * Math.cos((k * 2 * Math.PI) / 3)));
  context.closePath();
}

function pick(list) {
  return list[Math.floor(Math.random() * list.length)];
}

function things(size, count) {
  const placed = [];
  for (let tries = 0; placed.length < count && tries < 200; tries++) {
    const r = size * (0.08 + 0.07 * Math.random());
    const thing = { color: pick(Object.keys(COLORS)), shape: pick(SHAPES), r };
    thing.x = r * 1.3 + Math.random() * (size - 2.6 * r);
    thing.y = r * 1.3 + Math.random() * (size - 2.6 * r);
    if (placed.every((other) => Math.hypot(other.x - thing.x, other.y - thing.y) > 1.4 * (other.r + r))) placed.push(thing);
  }
  return placed;
}

function draw(size, placed) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  context.fillStyle = "#b9b9b4";
  context.fillRect(0, 0, size, size);
  for (const thing of placed) {
    outline(context, thing.shape, thing.x, thing.y, thing.r);
    context.fillStyle = COLORS[thing.color];
    context.fill();
  }
  const pixels = context.getImageData(0, 0, size, size);
  for (let i = 0; i < pixels.data.length; i++) if (i % 4 !== 3) pixels.data[i] += 16 * (Math.random() - 0.5);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// One image, or a clip of `frames` images in which the shapes drift; and the color and shape of each thing in it.
export function example(size, frames = 1) {
  const placed = things(size, 4);
  const drift = placed.map(() => [(Math.random() - 0.5) * size * 0.02, (Math.random() - 0.5) * size * 0.02]);
  const images = Array.from({ length: frames }, (_, t) =>
    draw(size, placed.map((thing, i) => ({ ...thing, x: thing.x + drift[i][0] * t, y: thing.y + drift[i][1] * t }))));
  return { images, things: placed.map(({ color, shape }) => ({ color, shape })) };
}
