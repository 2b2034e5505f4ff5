// The one socket of a page. Everyone says which devices to watch; everyone hears everything:
// "change" (detail: the message), "state" (detail: open, lost, stale or refused), "again" (back: fetch what was missed).

const FORBIDDEN = 4403;
const BEAT = 20_000; // a dead connection is not always told to the browser, so silence is answered with a question
const PATIENCE = 8_000;

class LiveSocket extends EventTarget {
  state = "connecting";
  #watched = new Set();
  #socket = null;
  #failures = 0;
  #returned = false;
  #timer = 0;
  #beat = 0;

  constructor() {
    super();
    addEventListener("online", () => this.#connect());
    addEventListener("offline", () => this.#lost(this.#socket, 0));
    document.addEventListener("visibilitychange", () => document.hidden || this.#connect());
  }

  watch(devices) {
    const known = this.#watched.size;
    for (const device of devices) this.#watched.add(device);
    if (this.#watched.size === known) return;
    if (!this.#socket) this.#connect();
    else queueMicrotask(() => this.#ask());
  }

  #ask() {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ watch: [...this.#watched] }));
  }

  #connect() {
    if (this.#socket || this.state === "refused" || !this.#watched.size) return;
    clearTimeout(this.#timer);
    const socket = (this.#socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws/live`));
    socket.onopen = () => this.#ask();
    socket.onmessage = ({ data }) => [JSON.parse(data)].flat().forEach((message) => this.#heard(message));
    socket.onclose = ({ code }) => this.#lost(socket, code);
    this.#listen(PATIENCE);
  }

  #heard(message) {
    this.#listen(BEAT);
    if (message.stale) this.#enter("stale");
    if (message.device) this.dispatchEvent(new CustomEvent("change", { detail: message }));
    if (message.watching || message.device) this.#enter("open");
    if (!message.watching) return;
    this.#failures = 0;
    if (this.#returned) this.dispatchEvent(new Event("again"));
    this.#returned = false;
  }

  #listen(wait) {
    clearTimeout(this.#beat);
    this.#beat = setTimeout(() => {
      const { readyState } = this.#socket ?? {};
      if (readyState !== WebSocket.OPEN || wait === PATIENCE) return this.#lost(this.#socket, 0);
      this.#socket.send('{"ping":true}');
      this.#listen(PATIENCE);
    }, wait);
  }

  #lost(socket, code) {
    if (!socket || socket !== this.#socket) return;
    this.#socket = null;
    this.#returned = true;
    clearTimeout(this.#beat);
    socket.close();
    if (code === FORBIDDEN) return this.#enter("refused");
    this.#enter("lost");
    const wait = Math.min(30_000, 500 * 2 ** this.#failures++);
    this.#timer = setTimeout(() => this.#connect(), wait * (0.5 + Math.random() / 2)); // not all browsers at once
  }

  #enter(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}

export const live = new LiveSocket();
