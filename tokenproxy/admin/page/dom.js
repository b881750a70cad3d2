// The few things that are done to the document. Text from outside is only ever set as text.

/** The element of `root` that is called `name`. */
export const one = (root, name) => root.querySelector(`[data-is="${name}"]`);

/** A copy of a template's one element. */
export const copyOf = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

/** Set what is there only where it is something else, so that nothing is laid out in vain. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The same for an attribute; null takes it off. */
export function set(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Show one of the shapes that stand in the document. */
export const shape = (use, name) => set(use, "href", `#shape-${name}`);

/** Say it to those who do not look, once. */
export const announce = (text) => put(one(document, "announcement"), text);

/** Views by name: made for names that are new, let go with names that have gone. */
export class Views {
  constructor(container, make) {
    this.container = container;
    this.make = make;
    this.byName = new Map();
  }

  show(entries) {
    for (const name of [...this.byName.keys()].filter((name) => !(name in entries))) {
      this.byName.get(name).root.remove();
      this.byName.delete(name);
    }
    for (const [name, entry] of Object.entries(entries)) this.view(name).show(entry);
  }

  view(name) {
    if (!this.byName.has(name)) {
      this.byName.set(name, this.make(name));
      this.container.append(this.byName.get(name).root);
    }
    return this.byName.get(name);
  }

  tick(now) {
    for (const view of this.byName.values()) view.tick(now);
  }
}
