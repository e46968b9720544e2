/** The service's routes, as the page uses them. Every failure is a ServiceError whose message is a sentence to show. */

const STREAM = "application/x-ndjson";
const ARCHIVE = "application/x-npz";
const MOST_TRIES = 6;

let key = "";

export class ServiceError extends Error {
  constructor(sentence, status = 0) {
    super(sentence);
    this.status = status;
  }
}

export function setKey(value) {
  key = value;
}

/** The models that this service offers. */
export async function models() {
  return (await ask("v1/models", {})).json();
}

/**
 * The windows of a recording, as they are computed.
 * @param {Blob} file
 * @param {{model: string, hop: string, signal: AbortSignal, waiting: (seconds: number) => void}} how
 * @yields {object} lines of the service's stream
 */
export async function* embed(file, how) {
  const headers = { Accept: STREAM, "Content-Type": "application/octet-stream" }; // what it is, its content says
  const answer = await send(file, headers, how);
  let ended = false;
  for await (const line of lines(answer.body)) {
    const record = parsed(line);
    if (record.error) throw new ServiceError(sentence(record.error), record.error.status);
    ended ||= record.n_windows !== undefined;
    yield record;
  }
  if (!ended) throw new ServiceError("The connection broke before the last window came. Try again.");
}

/** The service's own archive of a recording's vectors, which holds the recording's name. @returns {Promise<Blob>} */
export async function archive(file, how) {
  const form = new FormData();
  form.append("file", file);
  return (await send(form, { Accept: ARCHIVE }, how)).blob();
}

function send(body, headers, { model, hop, signal, waiting }) {
  const query = new URLSearchParams({ ...(model && { model }), ...(hop && { hop }) });
  return ask(`v1/embed?${query}`, { method: "POST", headers, body, signal }, waiting);
}

/** A good answer, after as many tries as a busy service asks for. */
async function ask(path, request, waiting = () => {}) {
  const headers = { ...request.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  for (let tries = 1; ; tries++) {
    const answer = await fetch(path, { ...request, headers, credentials: "omit", cache: "no-store" }).catch(unreachable);
    if (answer.ok) return answer;
    if (answer.status !== 429 || tries === MOST_TRIES) throw await failure(answer);
    const seconds = Number(answer.headers.get("Retry-After")) || tries;
    waiting(seconds);
    await pause(seconds, request.signal);
  }
}

function unreachable(error) {
  if (error.name === "AbortError") throw error;
  throw new ServiceError("The service cannot be reached. It may have been stopped, or it refused the size of the file.");
}

async function failure(answer) {
  const problem = await answer.json().catch(() => ({}));
  return new ServiceError(sentence(problem) || `The service answered with status ${answer.status}.`, answer.status);
}

/** One sentence out of a problem (RFC 9457). */
function sentence(problem) {
  const said = String(problem.detail || problem.title || "").trim();
  if (!said) return "";
  const begun = said[0].toUpperCase() + said.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      yield* parts.filter((part) => part.trim());
    }
    if (rest.trim()) yield rest;
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    throw new ServiceError("The service sent a line that is not JSON: the connection may have broken. Try again.");
  }
}
