import { paint } from "./rle.js";
import { example } from "./scene.js";
import { getJSON, infer, stream } from "./server.js";

const $ = (id) => document.getElementById(id);
const canvas = $("canvas");
const context = canvas.getContext("2d");
const MASK_COLORS = [[0, 220, 255], [255, 0, 200], [160, 255, 0], [255, 200, 0], [140, 90, 255]];
const HELP = {
  segmentation: "Click what you want. Shift-click or right-click what you do not want. Drag a box.",
  detection: "Name what to find, separated by commas.",
  tracking: "Click an object on a frame, then follow it.",
  vlm: "Ask about the image.",
};

// What to ask about an example.
const PROMPTS = {
  detection: (things) => [...new Set(things.map(({ color, shape }) => `${color} ${shape}`))].join(", "),
  vlm: (things) => {
    const shapes = things.map(({ shape }) => shape);
    return `What color is the ${shapes.find((shape) => shapes.indexOf(shape) === shapes.lastIndexOf(shape)) ?? shapes[0]}?`;
  },
};

let models = {}, frames = [], current = 0, points = [], labels = [], box = null, masks = new Map(), boxes = [], turn = 0;

const capability = () => models[$("model").value];
const uri = (image) => image.toDataURL("image/png");

function say(text, failed = false) {
  $("answer").textContent = text;
  $("answer").classList.toggle("error", failed);
}

function layer(mask, color) {
  const top = document.createElement("canvas");
  [top.height, top.width] = mask.size;
  top.getContext("2d").putImageData(paint(mask, color), 0, 0);
  context.drawImage(top, 0, 0);
}

function render() {
  const image = frames[current];
  if (!image) return;
  [canvas.width, canvas.height] = [image.width, image.height];
  context.drawImage(image, 0, 0);
  (masks.get(current) ?? []).forEach((mask, i) => layer(mask, MASK_COLORS[i % MASK_COLORS.length]));
  context.lineWidth = Math.max(1.5, image.width / 250);
  context.font = `${Math.max(12, image.width / 28)}px system-ui`;
  for (const [x1, y1, x2, y2, text, color = "#111"] of [...boxes, ...(box ? [box] : [])]) {
    context.strokeStyle = context.fillStyle = color;
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    if (text) context.fillText(text, x1, Math.max(12, y1 - 4));
  }
  points.forEach(([x, y], i) => {
    context.beginPath();
    context.arc(x, y, Math.max(4, image.width / 80), 0, 2 * Math.PI);
    context.fillStyle = labels[i] ? "#1fd11f" : "#e02020";
    context.fill();
    context.strokeStyle = "white";
    context.stroke();
  });
  $("timeline").hidden = frames.length < 2;
  $("frame").max = frames.length - 1;
  $("frame").value = current;
  $("frame-label").textContent = `${current + 1} / ${frames.length}`;
}

function clear() {
  [points, labels, box, boxes] = [[], [], null, []];
  masks = new Map();
  say("");
  render();
}

function show(images) {
  frames = images;
  current = 0;
  clear();
}

async function attempt(work) {
  const mine = ++turn; // an answer that comes after a newer question is dropped
  try {
    await work(() => mine === turn);
  } catch (error) {
    if (mine === turn) say(error.message, true);
  }
}

function segment() {
  return attempt(async (fresh) => {
    const body = { model: $("model").value, image: uri(frames[0]) };
    if (points.length) Object.assign(body, { points: [points], labels: [labels] });
    if (box) body.boxes = [box.slice(0, 4)];
    const started = performance.now();
    const { data, processing_time: seconds } = await infer("segmentation", body);
    if (!fresh()) return;
    const scores = data.scores.values;
    const best = scores.indexOf(Math.max(...scores));
    masks = new Map([[0, [data.masks[0][best]]]]);
    say(`score ${scores[best].toFixed(3)} (best of ${scores.length})\n` +
      `${(seconds * 1000).toFixed(0)} ms in the server, ${(performance.now() - started).toFixed(0)} ms in all`);
    render();
  });
}

function detect() {
  return attempt(async (fresh) => {
    const classes = $("text").value.split(",").map((word) => word.trim()).filter(Boolean);
    const threshold = Number($("threshold").value);
    const body = { model: $("model").value, image: uri(frames[0]), classes: classes.length ? classes : null, box_threshold: threshold, text_threshold: threshold };
    const { data } = await infer("detection", body);
    if (!fresh()) return;
    boxes = data.boxes.map((found, i) => [...found, `${data.classes[i]} ${data.scores[i].toFixed(2)}`]);
    say(boxes.map((found) => found[4]).join("\n") || "nothing found");
    render();
  });
}

function ask() {
  return attempt(async (fresh) => {
    const body = { model: $("model").value, prompt: $("text").value, images: [uri(frames[0])], max_new_tokens: 64, temperature: 0 };
    let text = "";
    for await (const message of stream("vlm", body)) {
      if (!fresh()) return;
      if (message.done) text += `\n(${message.data.usage.total_tokens} tokens, ${(message.processing_time * 1000).toFixed(0)} ms)`;
      else text += message.text;
      say(text);
    }
  });
}

function follow() {
  return attempt(async (fresh) => {
    if (!points.length) return say("Click an object first.");
    const body = { model: $("model").value, video: frames.map(uri), objects_ids: [1], frame_indexes: [current], points: [points], labels: [labels] };
    for await (const message of stream("tracking", body)) {
      if (!fresh()) return;
      if (message.done) continue;
      masks.set(message.frame_index, message.masks);
      current = message.frame_index;
      say(`${message.frames_done} of ${message.frames_total ?? "?"} frames`);
      render();
    }
  });
}

function position(event) {
  const area = canvas.getBoundingClientRect();
  const x = ((event.clientX - area.left) * canvas.width) / area.width;
  const y = ((event.clientY - area.top) * canvas.height) / area.height;
  return [Math.round(Math.min(Math.max(x, 0), canvas.width - 1)), Math.round(Math.min(Math.max(y, 0), canvas.height - 1))];
}

let pressed = null;
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("pointerdown", (event) => { pressed = position(event); });
canvas.addEventListener("pointerup", (event) => {
  if (!pressed || !["segmentation", "tracking"].includes(capability())) return;
  const [x, y] = position(event), [px, py] = pressed;
  pressed = null;
  if (Math.hypot(x - px, y - py) > 6 && capability() === "segmentation") {
    box = [Math.min(x, px), Math.min(y, py), Math.max(x, px), Math.max(y, py)];
  } else {
    points.push([x, y]);
    labels.push(event.button === 2 || event.shiftKey ? 0 : 1);
  }
  render();
  if (capability() === "segmentation") segment();
});

$("clear").onclick = clear;
$("example").onclick = () => {
  const { images, things } = example(capability() === "vlm" ? 192 : 256, capability() === "tracking" ? 16 : 1);
  $("text").value = PROMPTS[capability()]?.(things) ?? "";
  show(images);
};
$("follow").onclick = follow;
$("frame").oninput = () => { current = Number($("frame").value); render(); };
$("ask").onsubmit = (event) => {
  event.preventDefault();
  capability() === "vlm" ? ask() : detect();
};
$("files").onchange = async (event) => {
  const images = await Promise.all([...event.target.files].map(async (file) => {
    const bitmap = await createImageBitmap(file, { imageOrientation: "none" });
    const image = document.createElement("canvas");
    [image.width, image.height] = [bitmap.width, bitmap.height];
    image.getContext("2d").drawImage(bitmap, 0, 0);
    return image;
  }));
  if (images.length) show(capability() === "tracking" ? images : images.slice(0, 1));
};
$("model").onchange = () => {
  const what = capability();
  $("help").textContent = HELP[what];
  $("ask").hidden = !["detection", "vlm"].includes(what);
  $("threshold-row").hidden = what !== "detection";
  $("follow").hidden = what !== "tracking";
  $("example").click();
};

try {
  models = Object.fromEntries((await getJSON("/app/models/")).map((model) => [model.name, model.capability]));
  $("model").replaceChildren(...Object.keys(models).map((name) => new Option(`${name} (${models[name]})`, name)));
  const wanted = new URLSearchParams(location.search).get("model");
  if (wanted in models) $("model").value = wanted;
  $("model").onchange();
} catch (error) {
  say(error.message, true);
}
