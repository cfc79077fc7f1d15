// A question before anything is changed.

import { h, render } from "./dom.js";

// what: { title, told: [...], field, yes }; answers with the field's text, or null.
export function confirmed(dialog, what) {
  return new Promise((resolve) => {
    const field = what.field && h("label", {}, what.field, h("input", { id: "field", type: "text", maxlength: 200, autocomplete: "off" }));
    render(dialog, [
      h("form", { key: what.title, method: "dialog", "aria-labelledby": "asked" },
        h("h2", { id: "asked" }, what.title), what.told, field,
        h("p", { class: "buttons" },
          h("button", { type: "button", onclick: () => end(null) }, "Cancel"),
          h("button", { type: "button", class: "primary", onclick: () => end(dialog.querySelector("#field")?.value ?? "") }, what.yes))),
    ]);
    dialog.addEventListener("cancel", () => resolve(null), { once: true });
    dialog.showModal();

    function end(answer) {
      dialog.close();
      render(dialog, []);
      resolve(answer);
    }
  });
}
