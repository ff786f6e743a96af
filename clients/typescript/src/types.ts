// The wire contract. A test holds the fields of each interface to the Python schema of the same name.

/** float32 values, row by row; the product of `shape` is their number. NaN comes as null. */
export interface NDArrayFloat {
  values: (number | null)[];
  shape: number[];
}

/** A mask: [height, width], and COCO's compressed run-length encoding. See `decodeMask`. */
export interface CompressedRLE {
  size: [height: number, width: number];
  counts: string;
}

/** x1, y1, x2, y2 in pixels of the image. */
export type Box = [x1: number, y1: number, x2: number, y2: number];
/** x, y in pixels of the image. */
export type Point = [x: number, y: number];

export interface SegmentationRequest {
  model: string;
  /** Data URI, URL, path on the server, or `sha256:<hex>` of an image sent before. */
  image: string;
  /** [prompts][points] */
  points?: Point[][] | null;
  /** [prompts][points]: 1 foreground, 0 background */
  labels?: number[][] | null;
  /** [prompts] */
  boxes?: Box[] | null;
  mask_input?: NDArrayFloat | null;
  multimask_output?: boolean;
  num_multimask_outputs?: number;
  image_embedding?: NDArrayFloat | null;
  high_resolution_features?: NDArrayFloat[] | null;
  return_image_embedding?: boolean;
  return_logits?: boolean;
  reset_predictor?: boolean;
}

export interface SegmentationOutput {
  /** [prompts][candidates] */
  masks: CompressedRLE[][];
  /** [prompts, candidates] */
  scores: NDArrayFloat;
  image_embedding: NDArrayFloat | null;
  high_resolution_features: NDArrayFloat[] | null;
  mask_logits: NDArrayFloat | null;
}

export interface DetectionRequest {
  model: string;
  image: string;
  /** Null for a model with a closed vocabulary. */
  classes?: string[] | string | null;
  box_threshold?: number;
  text_threshold?: number;
}

export interface DetectionOutput {
  boxes: Box[];
  scores: number[];
  classes: string[];
  masks: CompressedRLE[] | null;
}

export interface KeyframePoint {
  x: number;
  y: number;
  label?: number;
}

export interface KeyframeBox {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The prompt of one object: points and/or a box, or a mask. */
export interface Keyframe {
  frame_index: number;
  points?: KeyframePoint[] | null;
  box?: KeyframeBox | null;
  mask?: CompressedRLE | null;
}

export interface TrackingInterval {
  start_frame: number;
  end_frame: number;
  direction?: "forward" | "backward";
}

export interface TrackingRequest {
  model: string;
  /** Frames in order, or one video. */
  video: string[] | string;
  objects_ids: number[];
  frame_indexes: number[];
  /** [objects][points] */
  points?: Point[][] | null;
  labels?: number[][] | null;
  /** [objects] */
  boxes?: Box[] | null;
  keyframes?: Keyframe[] | null;
  propagate?: boolean | null;
  interval?: TrackingInterval | null;
}

/** Three parallel lists, one entry per object and frame. */
export interface TrackingOutput {
  objects_ids: number[];
  frame_indexes: number[];
  masks: CompressedRLE[];
}

/** The masks of one frame, as they are streamed. */
export interface FrameMasks {
  frame_index: number;
  objects_ids: number[];
  masks: CompressedRLE[];
  frames_done: number;
  frames_total: number | null;
}

export interface TrackingJob {
  job_id: string;
  status: "queued" | "running" | "completed" | "failed" | "canceled";
  detail: string | null;
  data: TrackingOutput | null;
  metadata: Record<string, unknown>;
  timestamp: string;
  processing_time: number;
}

export interface TextPart {
  type: "text";
  text: string;
}

export interface ImagePart {
  type: "image_url";
  image_url: { url: string };
}

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string | (TextPart | ImagePart)[];
}

export interface VLMRequest {
  model: string;
  prompt: string | ChatMessage[];
  images?: string[] | null;
  max_new_tokens: number;
  temperature?: number;
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

export interface VLMOutput {
  generated_text: string;
  usage: Usage;
  generation_config: Record<string, unknown>;
}

export interface Settings {
  app_name: string;
  app_version: string;
  app_description: string;
  num_cpus: number;
  num_gpus: number;
  num_nodes: number;
  gpus_used: number;
  gpu_to_model: Record<string, string>;
  models: string[];
  models_to_capability: Record<string, string>;
}

export interface ModelInfo {
  name: string;
  capability: string;
  model_path: string | null;
  model_class: string | null;
  state: string | null;
  reason: string | null;
}

/** The envelope of every answer. */
export interface Answer<Output> {
  id: string;
  status: "SUCCESS";
  timestamp: string;
  /** Seconds. */
  processing_time: number;
  metadata: Record<string, unknown>;
  data: Output;
}
