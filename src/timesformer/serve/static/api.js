/** Requests to the server that the page came from, and the problems that it answers. */

const TOKEN_KEY = "timesformer-token";

/** What went wrong, as the server's `application/problem+json` says it. */
export class Problem extends Error {
  constructor({ title, detail = "", fix = "", status = 0, retryAfter = null }) {
    super(title);
    Object.assign(this, { title, detail, fix, status, retryAfter });
  }
}

export function setToken(token) {
  sessionStorage.setItem(TOKEN_KEY, token);
}

export function forgetToken() {
  sessionStorage.removeItem(TOKEN_KEY);
}

/** Whether a token was given in this tab. */
export function hasToken() {
  return sessionStorage.getItem(TOKEN_KEY) !== null;
}

/**
 * Send one request.
 *
 * XMLHttpRequest, since fetch does not say how much of an upload has been sent.
 *
 * @returns {Promise<{status: number, blob: Blob}>} The answer, if its status is 2xx.
 * @throws {Problem} The server refused, or did not answer.
 */
export function send(method, path, { query = {}, body = null, type = "", signal = null, onUpload = () => {} } = {}) {
  const url = new URL(path, document.baseURI);
  for (const [key, value] of Object.entries(query)) if (value !== "" && value !== null) url.searchParams.set(key, value);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    const done = () => signal?.removeEventListener("abort", abort);
    request.open(method, url);
    request.responseType = "blob";
    if (type) request.setRequestHeader("Content-Type", type);
    if (hasToken()) request.setRequestHeader("Authorization", `Bearer ${sessionStorage.getItem(TOKEN_KEY)}`);
    request.upload.onprogress = (event) => onUpload(event.lengthComputable ? event.loaded / event.total : null);
    request.onabort = () => (done(), reject(new DOMException("canceled", "AbortError")));
    request.onerror = () => (done(), reject(unanswered()));
    request.onload = async () => {
      done();
      if (request.status >= 200 && request.status < 300) resolve({ status: request.status, blob: request.response });
      else reject(await readProblem(request));
    };
    if (signal?.aborted) return reject(new DOMException("canceled", "AbortError"));
    signal?.addEventListener("abort", abort);
    request.send(body);
  });
}

/** The same, for an answer in JSON. */
export async function sendForJson(method, path, options) {
  const { status, blob } = await send(method, path, options);
  return { status, value: JSON.parse(await blob.text()) };
}

/** How a video is sent: its bytes are the body. */
export function upload(file) {
  return { body: file, type: file.type.startsWith("video/") ? file.type : "application/octet-stream" };
}

/**
 * Wait until a job is done; cancel it when the signal aborts or the page is left.
 *
 * @returns {Promise<object>} The result of the job.
 */
export async function waitForJob(id, { signal, onProgress }) {
  const path = `v1/jobs/${encodeURIComponent(id)}`;
  const cancel = () => fetch(new URL(path, document.baseURI), { method: "DELETE", headers: authorization(), keepalive: true });
  const leave = () => void cancel().catch(() => {});
  signal.addEventListener("abort", leave);
  addEventListener("pagehide", leave);
  try {
    for (let pause = 200; ; pause = Math.min(2000, pause * 1.4)) {
      const { value } = await sendForJson("GET", path, { signal });
      if (value.status === "done") return value.result;
      if (value.status === "failed") throw new Problem(value.problem ?? { title: "The job failed" });
      if (value.status === "canceled") throw new Problem({ title: "The job was canceled", fix: "Start it again." });
      onProgress(value.status === "queued" ? null : value.progress, value.status);
      await sleep(pause, signal);
    }
  } finally {
    signal.removeEventListener("abort", leave);
    removeEventListener("pagehide", leave);
  }
}

function authorization() {
  return hasToken() ? { Authorization: `Bearer ${sessionStorage.getItem(TOKEN_KEY)}` } : {};
}

function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(new DOMException("canceled", "AbortError"))), { once: true });
  });
}

async function readProblem(request) {
  const { status } = request;
  const retryAfter = request.getResponseHeader("Retry-After");
  const text = await request.response.text();
  try {
    return new Problem({ ...JSON.parse(text), status, retryAfter });
  } catch {
    return new Problem({ title: `The server answered with status ${status}`, detail: text.slice(0, 300), status, retryAfter });
  }
}

function unanswered() {
  return new Problem({
    title: "The server does not answer",
    detail: "The connection failed or was closed before an answer came.",
    fix: "Check that timesformer serve is running, then try again.",
  });
}
