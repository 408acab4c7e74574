// The model: its sidecar, its ONNX file and ONNX Runtime.

import * as ort from "./runtime/ort.js";

const MOST_THREADS = 8;

/** Bytes of a file of this page, with progress from 0 to 1. */
async function download(name, bytes, onProgress) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name} cannot be loaded: the server answered ${response.status}`);
  const content = new Uint8Array(bytes);
  let length = 0;
  for (const reader = response.body.getReader();;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (length + value.length > bytes) throw new Error(`${name} is longer than ${bytes} bytes: export the page again`);
    content.set(value, length);
    length += value.length;
    onProgress(length / bytes);
  }
  if (length < bytes) throw new Error(`${name} has ${length} of its ${bytes} bytes: upload it again`);
  return content;
}

export class Model {
  constructor(session, sidecar, threads) {
    this.session = session;
    this.sidecar = sidecar;
    this.threads = threads;
  }

  /** Load the sidecar, the runtime and the weights. */
  static async load(onProgress) {
    const response = await fetch(new URL("model.json", import.meta.url));
    if (!response.ok) throw new Error(`model.json cannot be loaded: the server answered ${response.status}`);
    const sidecar = await response.json();
    const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.wasmBinary = await download("runtime/ort.wasm", sidecar.web.runtime_bytes, (value) =>
      onProgress("Loading the runtime", value));
    const weights = await download("model.onnx", sidecar.model.bytes, (value) => onProgress("Loading the model", value));
    onProgress("Starting the model", null);
    const session = await ort.InferenceSession.create(weights, { executionProviders: ["wasm"] });
    return new Model(session, sidecar, threads);
  }

  /** Logits of one view. */
  async run(view) {
    const { num_frames: frames, image_size: [height, width] } = this.sidecar;
    const clips = new ort.Tensor("float32", view, [1, 3, frames, height, width]);
    const { logits } = await this.session.run({ clips });
    return Array.from(logits.data);
  }
}
