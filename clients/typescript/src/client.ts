import { lines } from "./lines.js";
import type {
  Answer,
  DetectionOutput,
  DetectionRequest,
  FrameMasks,
  ModelInfo,
  SegmentationOutput,
  SegmentationRequest,
  Settings,
  TrackingJob,
  TrackingOutput,
  TrackingRequest,
  VLMOutput,
  VLMRequest,
} from "./types.js";

/** The server answered with an error. */
export class RequestFailed extends Error {
  constructor(
    /** HTTP status. */
    readonly status: number,
    /** The server's words; a list of `{loc, msg, type}` for a request that does not fit. */
    readonly detail: unknown,
    /** A word for programs, where the server gives one. */
    readonly code: string | null = null,
    /** Seconds after which the server suggests to try again (429 and 503). */
    readonly retryAfter: number | null = null,
  ) {
    super(`${status}: ${typeof detail === "string" ? detail : JSON.stringify(detail)}`);
    this.name = "RequestFailed";
  }
}

export interface ClientOptions {
  /** Key to send, where the server wants one. */
  apiKey?: string;
  /** Instead of the global `fetch`. */
  fetch?: typeof fetch;
}

export interface CallOptions {
  /** Aborting it stops the model. */
  signal?: AbortSignal;
}

/** Talks to a server. `data:` URIs of images come from `FileReader` or a canvas; bytes are uploaded as they are. */
export class PixanoInferenceClient {
  readonly url: string;
  readonly #fetch: typeof fetch;
  readonly #headers: Record<string, string>;

  constructor(url: string, options: ClientOptions = {}) {
    this.url = url.replace(/\/+$/, "");
    this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    this.#headers = options.apiKey === undefined ? {} : { "X-API-Key": options.apiKey };
  }

  getSettings(options?: CallOptions): Promise<Settings> {
    return this.#json("GET", "/app/settings/", undefined, options);
  }

  listModels(options?: CallOptions): Promise<ModelInfo[]> {
    return this.#json("GET", "/app/models/", undefined, options);
  }

  /** Turn prompts on an image into masks. */
  segmentation(request: SegmentationRequest, options?: CallOptions): Promise<Answer<SegmentationOutput>> {
    return this.#json("POST", "/inference/segmentation/", request, options);
  }

  /** The same, for an image that is held as bytes. */
  segmentationOf(
    image: Blob,
    request: Omit<SegmentationRequest, "image">,
    options?: CallOptions,
  ): Promise<Answer<SegmentationOutput>> {
    return this.#json("POST", "/inference/segmentation/binary", form(request, "image", [image]), options);
  }

  /** Find things in an image by name. */
  detection(request: DetectionRequest, options?: CallOptions): Promise<Answer<DetectionOutput>> {
    return this.#json("POST", "/inference/detection/", request, options);
  }

  /** Follow objects through a video, and wait for the whole of it. */
  tracking(request: TrackingRequest, options?: CallOptions): Promise<Answer<TrackingOutput>> {
    return this.#json("POST", "/inference/tracking/", request, options);
  }

  /** The same, for frames that are held as bytes. */
  trackingOf(
    frames: Blob[],
    request: Omit<TrackingRequest, "video">,
    options?: CallOptions,
  ): Promise<Answer<TrackingOutput>> {
    return this.#json("POST", "/inference/tracking/binary", form(request, "frames", frames), options);
  }

  /** Follow objects through a video; each frame as soon as it is there. Leaving the loop stops the model. */
  async *streamTracking(request: TrackingRequest, options?: CallOptions): AsyncGenerator<FrameMasks, void> {
    for await (const line of this.#lines("/inference/tracking/stream", request, options)) {
      if (line["done"] === true) return;
      yield line as unknown as FrameMasks;
    }
  }

  /** Ask a question about images. */
  vlm(request: VLMRequest, options?: CallOptions): Promise<Answer<VLMOutput>> {
    return this.#json("POST", "/inference/vlm/", request, options);
  }

  /** The same, piece by piece; returns the whole answer at the end. Leaving the loop stops the model. */
  async *streamVlm(request: VLMRequest, options?: CallOptions): AsyncGenerator<string, Answer<VLMOutput>> {
    for await (const line of this.#lines("/inference/vlm/stream", request, options)) {
      if (line["done"] === true) return line as unknown as Answer<VLMOutput>;
      yield String(line["text"]);
    }
    throw brokenOff();
  }

  /** Hand in a tracking job, and do not wait for it. */
  submitTracking(request: TrackingRequest, options?: CallOptions): Promise<TrackingJob> {
    return this.#json("POST", "/inference/tracking/jobs/", request, options);
  }

  trackingJob(jobId: string, options?: CallOptions): Promise<TrackingJob> {
    return this.#json("GET", `/inference/tracking/jobs/${encodeURIComponent(jobId)}`, undefined, options);
  }

  /** Cancel a job; the model stops within one frame. */
  cancelTracking(jobId: string, options?: CallOptions): Promise<TrackingJob> {
    return this.#json("DELETE", `/inference/tracking/jobs/${encodeURIComponent(jobId)}`, undefined, options);
  }

  async #json<T>(method: string, path: string, body?: object, options?: CallOptions): Promise<T> {
    return (await (await this.#send(method, path, body, options)).json()) as T;
  }

  async *#lines(path: string, body: object, options?: CallOptions): AsyncGenerator<Record<string, unknown>, void> {
    const response = await this.#send("POST", path, body, options);
    if (response.body === null) throw brokenOff();
    for await (const line of lines(response.body)) {
      const event = JSON.parse(line) as Record<string, unknown>;
      const error = event["error"] as { detail: unknown; status: number } | undefined;
      if (error !== undefined) throw new RequestFailed(error.status, error.detail);
      yield event;
      if (event["done"] === true) return;
    }
    throw brokenOff();
  }

  async #send(method: string, path: string, body?: object, options?: CallOptions): Promise<Response> {
    const init: RequestInit = { method, headers: { ...this.#headers } };
    if (options?.signal !== undefined) init.signal = options.signal;
    if (body instanceof FormData) {
      init.body = body; // fetch sets the boundary
    } else if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { ...this.#headers, "Content-Type": "application/json" };
    }
    const response = await this.#fetch(this.url + path, init);
    if (response.ok) return response;
    throw await failure(response);
  }
}

function form(metadata: object, name: string, media: Blob[]): FormData {
  const parts = new FormData();
  parts.append("metadata", new Blob([JSON.stringify(metadata)], { type: "application/json" }), "metadata.json");
  media.forEach((medium, index) => parts.append(name, medium, String(index)));
  return parts;
}

async function failure(response: Response): Promise<RequestFailed> {
  const text = await response.text();
  const retryAfter = response.headers.get("Retry-After");
  let body: { detail?: unknown; code?: string } = {};
  try {
    body = JSON.parse(text) as typeof body;
  } catch {
    // a proxy in between answers in HTML or plain text
  }
  const seconds = retryAfter === null ? null : Number(retryAfter);
  return new RequestFailed(response.status, body.detail ?? text, body.code ?? null, seconds);
}

function brokenOff(): RequestFailed {
  return new RequestFailed(502, "the stream broke off before its last line: the server or a proxy has gone away");
}
