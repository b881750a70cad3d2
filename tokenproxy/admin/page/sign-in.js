// Signing in: off to the issuer in this window, or a code to type on any device.

import { announce, one, put } from "./dom.js";
import { duration } from "./words.js";

/** An address to go to: what an issuer names may be any text, `javascript:…` too. */
export function webAddress(text) {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (!["http:", "https:"].includes(url?.protocol)) {
    throw new Error("The issuer named no web address to sign in at; look at the issuer's settings.");
  }
  return url;
}

export class DeviceCode {
  constructor(card) {
    this.root = one(card, "device");
    this.copy = one(this.root, "copy");
    this.copy.addEventListener("click", () => this.toClipboard());
  }

  get isOpen() {
    return !this.root.hidden;
  }

  show({ user_code: code, verification_uri: plain, verification_uri_complete: whole, expires_at: end }) {
    const url = webAddress(whole ?? plain);
    this.end = end;
    put(one(this.root, "code"), code);
    put(this.copy, "Copy code");
    const link = one(this.root, "go");
    link.href = url.href;
    put(link, `Open ${url.host}`);
    this.root.hidden = false;
    announce(`The code is ${[...code].join(" ")}. Type it at ${url.host}.`);
  }

  close() {
    this.root.hidden = true;
  }

  tick(now) {
    if (this.isOpen) put(one(this.root, "waiting"), this.waiting(now));
  }

  waiting(now) {
    if (this.end === null) return "Waiting for you to sign in there.";
    const left = this.end - now;
    return left > 0
      ? `Waiting for you to sign in there. The code is good for ${duration(Math.max(10, left))}.`
      : "This code has run out. Press “Sign in” for another.";
  }

  /** Where the browser gives no clipboard (plain http beyond this machine) it is marked to copy. */
  async toClipboard() {
    const code = one(this.root, "code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      put(this.copy, "Copied");
      announce("The code has been copied.");
    } catch {
      getSelection().selectAllChildren(code);
      put(this.copy, "Marked: now copy it");
    }
  }
}
