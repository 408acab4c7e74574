/** Work in progress: one request at a time for each part of the page, with progress, cancel and problems. */

import { Problem, forgetToken, hasToken } from "./api.js";
import { announce, el } from "./dom.js";

/** What the page says above what the server says, whose titles are the names of the statuses. */
const HEADLINES = {
  401: "The token was not accepted",
  413: "The video is too large",
  415: "This is not a video",
  422: "The request cannot be answered",
  429: "The server is busy",
  503: "The server is busy",
};
let askForToken = () => {};

/** What to do when the server wants a token: a function of what to try again with it. */
export function whenTokenIsNeeded(ask) {
  askForToken = ask;
}

/** The place of a part of the page where its work is shown. */
export class Work {
  constructor(host) {
    this.host = host;
    this.controller = null;
  }

  /** Stop what runs, and clear what is shown. */
  stop() {
    this.controller?.abort();
    this.controller = null;
    this.host.replaceChildren();
  }

  /**
   * Do something that can be canceled.
   *
   * @param {string} title What is done, such as `Uploading clip.mp4`.
   * @param {(context: {signal: AbortSignal, report: Function, title: Function}) => Promise<void>} task The work;
   *   `report` takes the finished fraction, or null where it is unknown.
   */
  async run(title, task) {
    this.stop();
    const controller = (this.controller = new AbortController());
    const busy = this.#show(title);
    try {
      await task({ signal: controller.signal, report: busy.report, title: busy.title });
      if (this.controller === controller) this.stop();
    } catch (error) {
      if (this.controller !== controller || error.name === "AbortError") return;
      this.controller = null;
      if (!(error instanceof Problem)) {
        this.fail(new Problem({ title: "The page failed", detail: String(error.message) }));
        throw error;
      }
      this.#answer(error, () => this.run(title, task));
    }
  }

  /** Show a problem, with a button to try again if that can help. */
  fail(problem, retry = null) {
    const again = retry && el("button", { type: "button", textContent: "Try again", onclick: retry });
    this.host.replaceChildren(describe(problem, again));
  }

  #answer(problem, retry) {
    if (problem.status !== 401) return this.fail(problem, canHelp(problem.status) ? retry : null);
    const wasRefused = hasToken();
    forgetToken();
    this.host.replaceChildren();
    return askForToken(retry, wasRefused ? problem : null);
  }

  #show(title) {
    const bar = el("progress", { max: 1, aria: { label: title } });
    const text = el("span", { textContent: `${title} …` });
    const cancel = el("button", { type: "button", textContent: "Cancel", onclick: () => this.#cancel() });
    this.host.replaceChildren(el("div", { className: "busy" }, text, bar, cancel));
    announce(title);
    return {
      title: (changed) => {
        if (text.textContent === `${changed} …`) return;
        text.textContent = `${changed} …`;
        bar.setAttribute("aria-label", changed);
        bar.removeAttribute("value");
        announce(changed);
      },
      report: (fraction) => (fraction === null ? bar.removeAttribute("value") : (bar.value = fraction)),
    };
  }

  #cancel() {
    this.stop();
    announce("Canceled");
  }
}

/** Texts of the server start in lower case and have no full stop. */
function sentence(text) {
  const first = /^[a-z]+[ ,]/.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
  return /[.!?…]$/.test(first) ? first : `${first}.`;
}

function canHelp(status) {
  return status === 0 || status === 429 || status >= 500;
}

function describe({ title, detail, fix, status, retryAfter }, again) {
  const headline = HEADLINES[status] ?? title;
  const code = status ? `Status ${status}${headline === title ? "" : `, ${title}`}` : "";
  return el(
    "div",
    { className: "problem", role: "alert" },
    el("p", { className: "problem-title", textContent: headline }),
    detail && detail !== headline ? el("p", { textContent: sentence(detail) }) : null,
    fix ? el("p", {}, el("strong", { textContent: "What to do: " }), sentence(fix)) : null,
    retryAfter ? el("p", { textContent: `The server asks to wait ${retryAfter} s.` }) : null,
    code ? el("p", { className: "code", textContent: code }) : null,
    again,
  );
}

/** `onUpload` of a request: how much was sent, and then that the server works on it. */
export function uploading({ report, title }, next) {
  return (fraction) => {
    report(fraction);
    if (fraction === 1) title(next);
  };
}

