// The page is drawn anew from what is known, and only what has changed is touched: focus, opened
// parts and what a screen reader is reading stay where they are. Text is always text.

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, attrs, ...children) {
  const kept = children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false);
  return { tag, attrs: attrs ?? {}, children: kept.map((one) => (typeof one === "object" ? one : String(one))) };
}

export function render(parent, children) {
  patch(parent, [children].flat(Infinity).filter(Boolean), parent.namespaceURI === SVG);
}

function patch(parent, wanted, inSvg) {
  const keyed = new Map();
  for (const node of parent.childNodes) if (node.key !== undefined) keyed.set(node.key, node);
  wanted.forEach((one, at) => {
    const there = parent.childNodes[at] ?? null;
    if (typeof one === "string") {
      if (there?.nodeType === Node.TEXT_NODE) {
        if (there.data !== one) there.data = one;
      } else parent.insertBefore(document.createTextNode(one), there);
      return;
    }
    const key = one.attrs.key;
    let node = key === undefined ? there : keyed.get(key);
    if (!node || node.tag !== one.tag || node.key !== key) node = made(one, inSvg);
    update(node, one, inSvg || one.tag === "svg"); // before it is shown: animations begin at once
    if (node !== there) parent.insertBefore(node, there);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

function made(one, inSvg) {
  const svg = inSvg || one.tag === "svg";
  const node = svg ? document.createElementNS(SVG, one.tag) : document.createElement(one.tag);
  node.tag = one.tag;
  node.key = one.attrs.key;
  node.given = {};
  node.heard = {};
  return node;
}

function update(node, one, inSvg) {
  for (const name of Object.keys(node.given)) if (!(name in one.attrs)) node.removeAttribute(name);
  for (const [name, value] of Object.entries(one.attrs)) {
    if (name === "key") continue;
    if (name.startsWith("on")) {
      if (!(name in node.heard)) node.addEventListener(name.slice(2), (event) => node.heard[name]?.(event));
      node.heard[name] = value;
    } else if (node.given[name] !== value) {
      if (value === null || value === undefined || value === false) node.removeAttribute(name);
      else node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.given = Object.fromEntries(Object.entries(one.attrs).filter(([name]) => !name.startsWith("on") && name !== "key"));
  patch(node, one.children, inSvg);
}
