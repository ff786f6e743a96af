// Runs against a server of the test suite's custom models; its address is in PIXANO_URL.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { decodeMask, PixanoInferenceClient, RequestFailed } from "../src/index.js";
import { lines } from "../src/lines.js";

const url = process.env["PIXANO_URL"];
const path = process.env["PIXANO_IMAGE"];
assert.ok(url !== undefined && path !== undefined, "set PIXANO_URL and PIXANO_IMAGE");
const client = new PixanoInferenceClient(url + "/");
const bytes = await readFile(path);
const image = `data:image/png;base64,${bytes.toString("base64")}`;

function center(mask: { width: number; data: Uint8Array }): [number, number] {
  let [x, y, count] = [0, 0, 0];
  mask.data.forEach((value, index) => {
    x += value * (index % mask.width);
    y += value * Math.floor(index / mask.width);
    count += value;
  });
  return [x / count, y / count];
}

test("settings and models", async () => {
  const settings = await client.getSettings();
  assert.equal(settings.app_name, "Pixano Inference");
  assert.deepEqual((await client.listModels()).map((model) => model.name).sort(), [...settings.models].sort());
});

test("a click", async () => {
  const points: [number, number][][] = [[[40, 20]]];
  const answers = [
    await client.segmentation({ model: "disk", image, points }),
    await client.segmentationOf(new Blob([bytes]), { model: "disk", points }),
  ];
  for (const answer of answers) {
    assert.equal(answer.status, "SUCCESS");
    const rle = answer.data.masks[0]?.[0];
    assert.ok(rle !== undefined);
    const mask = decodeMask(rle);
    assert.deepEqual([mask.width, mask.height], [64, 48]);
    assert.deepEqual(center(mask), [40, 20]);
  }
});

test("boxes, text and tracks", async () => {
  const found = await client.detection({ model: "boxes", image, classes: ["cat"] });
  assert.deepEqual(found.data.boxes, [[16, 12, 48, 36]]);
  const answer = await client.vlm({ model: "echo", prompt: "two circles", images: [image], max_new_tokens: 9 });
  assert.equal(answer.data.generated_text, "two circles");
  const request = { model: "still", objects_ids: [3], frame_indexes: [0], points: [[[5, 5]]] as [number, number][][] };
  const tracks = await client.trackingOf([new Blob([bytes]), new Blob([bytes])], request);
  assert.deepEqual(tracks.data.frame_indexes, [0, 1]);
});

test("streams", async () => {
  const pieces: string[] = [];
  const stream = client.streamVlm({ model: "echo", prompt: "two circles", images: [image], max_new_tokens: 9 });
  for (;;) {
    const step = await stream.next();
    if (step.done === true) {
      assert.equal(step.value.data.generated_text, "two circles");
      break;
    }
    pieces.push(step.value);
  }
  assert.deepEqual(pieces, ["two", " circles"]);
  const video = Array<string>(1000).fill(image);
  const request = { model: "still", video, objects_ids: [3], frame_indexes: [0], boxes: [[0, 0, 9, 9]] as never };
  for await (const frame of client.streamTracking(request)) {
    assert.equal(frame.frame_index, 0);
    break; // and the model stops, or the next request would wait for twenty seconds
  }
  const short = { ...request, video: [image] };
  assert.equal((await client.tracking(short, { signal: AbortSignal.timeout(10_000) })).data.masks.length, 1);
});

test("errors", async () => {
  await assert.rejects(
    client.segmentation({ model: "none", image }),
    (error) => error instanceof RequestFailed && error.status === 404 && error.detail === "Model 'none' not found",
  );
  await assert.rejects(
    client.streamTracking({ model: "disk", video: [image], objects_ids: [1], frame_indexes: [0] }).next(),
    (error) => error instanceof RequestFailed && error.status >= 400 && error.status < 500,
  );
});

test("lines come out whole, however the network has cut them", async () => {
  const text = 'a\u2028é\n\n{"b": 1}\nlast';
  const encoded = new TextEncoder().encode(text + "\n");
  for (let size = 1; size < 8; size++) {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < encoded.length; at += size) controller.enqueue(encoded.slice(at, at + size));
        controller.close();
      },
    });
    const got: string[] = [];
    for await (const line of lines(body)) got.push(line);
    assert.deepEqual(got, ["a\u2028é", '{"b": 1}', "last"]);
  }
});
