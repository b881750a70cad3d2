// A credential's card.

import { now } from "./clock.js";
import { announce, copyOf, one, put, set, shape } from "./dom.js";
import { Life } from "./life.js";
import { DeviceCode, webAddress } from "./sign-in.js";
import { post } from "./stream.js";
import { count, relative, sentence, withoutName } from "./words.js";

/** What each state is called, and which tone it has; the shapes go by the state. */
const STATES = {
  empty: ["No token yet", "idle"],
  fresh: ["Fresh", "good"],
  ageing: ["Ageing", "due"],
  expired: ["Expired", "due"],
  renewing: ["Renewing", "busy"],
  unavailable: ["Unavailable", "bad"],
  login_required: ["Needs a person", "bad"],
};

export class CredentialCard {
  constructor(name) {
    this.name = name;
    this.root = copyOf("credential");
    this.life = new Life(this.root);
    this.device = new DeviceCode(this.root);
    this.failure = null; // of what was last asked for here
    this.label();
    this.button("renew", "Renewing…", () => this.renew());
    this.button("sign-in", "One moment…", () => this.signIn());
  }

  label() {
    const heading = this.put("name", this.name);
    heading.id = `credential-${this.name}`;
    set(this.root, "aria-labelledby", heading.id);
  }

  put(place, text) {
    const element = one(this.root, place);
    put(element, text);
    return element;
  }

  // -- what the server says ----------------------------------------------------------------

  show(credential) {
    const before = this.credential;
    this.credential = credential;
    if (before && credential.last_renewal !== before.last_renewal) this.wasRenewed();
    else if (before && credential.last_error && credential.last_error !== before.last_error) this.device.close();
    this.showState(credential.state, before?.state);
    this.put("type", credential.type);
    this.put("token", credential.token === null ? "" : `token ${credential.token}`);
    this.put("renewals", count(credential.renewals));
    this.life.show(credential, now());
    this.showTrouble();
    this.showSignIn(credential);
    this.tick(now());
  }

  showState(state, before) {
    const [usual, tone] = STATES[state] ?? [state, "idle"];
    const word = state === "login_required" && this.credential.sign_in ? "Sign-in required" : usual;
    set(this.root, "data-state", state);
    set(this.root, "data-tone", tone);
    this.put("state", word);
    shape(one(this.root, "shape"), state);
    if (before && before !== state && tone === "bad") announce(`${this.name}: ${word}`);
  }

  showTrouble() {
    const { last_error: error, advice } = this.credential;
    one(this.root, "trouble").hidden = !(this.failure ?? error ?? advice);
    const told = new Set([this.failure, error].filter(Boolean).map((text) => withoutName(text, this.name)));
    this.put("error", [...told].map(sentence).join(" "));
    this.put("advice", advice ?? "");
  }

  showSignIn({ state, sign_in: kind }) {
    const button = one(this.root, "sign-in");
    button.hidden = kind === null;
    button.classList.toggle("first", state === "login_required" && !this.device.isOpen);
  }

  wasRenewed() {
    this.failure = null;
    if (this.device.isOpen) announce(`${this.name}: you are signed in.`);
    this.device.close();
    this.root.classList.remove("just-renewed");
    void this.root.offsetWidth; // so that the glow begins anew
    this.root.classList.add("just-renewed");
  }

  tick(time) {
    const { last_renewal: at, renewed_by: by, retry_at: retry } = this.credential;
    this.life.tick(time);
    this.device.tick(time);
    this.put("renewed", at === null ? "not yet" : `${relative(at, time)}${by ? `, by ${by}` : ""}`);
    this.put("retry", retry === null || retry <= time ? "" : `Next try ${relative(retry, time)}.`);
  }

  // -- what a person asks for --------------------------------------------------------------

  async renew() {
    await post(this.url("refresh"));
    announce(`${this.name} has been renewed.`);
  }

  async signIn() {
    const begun = await post(this.url("sign-in"));
    if (begun.type === "device_code") this.device.show(begun);
    else location.assign(webAddress(begun.url).href);
    this.showSignIn(this.credential);
    this.tick(now());
  }

  url(action) {
    return `api/credentials/${encodeURIComponent(this.name)}/${action}`;
  }

  /** It keeps the focus while it is busy, so it is not disabled, but deaf. */
  button(place, busy, act) {
    const button = one(this.root, place);
    const usual = button.textContent;
    set(button, "aria-describedby", `credential-${this.name}`);
    button.addEventListener("click", async () => {
      if (button.ariaDisabled === "true") return;
      this.failure = null;
      button.ariaDisabled = "true";
      put(button, busy);
      await act().catch((error) => this.failed(error));
      button.ariaDisabled = null;
      put(button, usual);
      this.showTrouble();
    });
  }

  failed(error) {
    this.failure = error.message;
    announce(`${this.name}: ${error.message}`);
  }
}
