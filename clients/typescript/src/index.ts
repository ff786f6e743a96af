export { PixanoInferenceClient, RequestFailed, type CallOptions, type ClientOptions } from "./client.js";
export { decodeMask, runLengths, type Mask } from "./masks.js";
export type * from "./types.js";
