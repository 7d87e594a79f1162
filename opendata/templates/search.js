"use strict";
// Narrows the list that stands in the page; the index holds its words without accents, as people type them.
(() => {
  const form = document.getElementById("find"), list = document.getElementById("results");
  const count = document.getElementById("count"), kinds = ["theme", "place", "frequency"];
  const index = JSON.parse(document.getElementById("index").textContent);
  const cards = new Map([...list.children].map((card) => [card.dataset.id, card]));
  const small = new Set(["va", "theo", "cua", "cac", "trong", "cho", "o", "the", "of", "by", "and", "in", "for", "a"]);
  const fold = (text) => text.toLowerCase().replace(/đ/g, "d").normalize("NFD").replace(/[\u0300-\u036f]/g, "");
  const weigh = (entry, word) => {
    const at = (text) => (" " + text).includes(" " + word);
    return at(entry.title) ? 9 : at(entry.about) ? 3 : at(entry.columns) ? 1 : 0;
  };
  const show = () => {
    const typed = fold(form.q.value).match(/[\p{L}\p{N}]+/gu) || [];
    const words = typed.filter((word) => !small.has(word));
    const chosen = kinds.map((kind) => form[kind].value).filter(Boolean);
    const found = index.filter((entry) => chosen.every((value) => entry.facets.includes(value)))
      .map((entry) => ({ id: entry.id, weights: words.map((word) => weigh(entry, word)) }))
      .filter((entry) => entry.weights.every(Boolean))
      .map((entry) => ({ id: entry.id, weight: entry.weights.reduce((sum, one) => sum + one, 0) }))
      .sort((one, other) => other.weight - one.weight);
    for (const card of cards.values()) card.hidden = true;
    for (const { id } of found) {
      cards.get(id).hidden = false;
      list.append(cards.get(id));
    }
    const many = found.length === 1 ? "one" : "many";
    count.textContent = found.length ? count.dataset[many].replace("#", found.length) : count.dataset.none;
    const asked = new URLSearchParams([...new FormData(form)].filter(([, value]) => value)).toString();
    if (location.protocol !== "file:") history.replaceState(null, "", location.pathname + (asked && "?" + asked));
  };
  const given = new URLSearchParams(location.search);
  for (const name of ["q", ...kinds]) if (given.has(name)) form[name].value = given.get(name);
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => { event.preventDefault(); show(); });
  show();
})();
