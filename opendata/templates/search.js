"use strict";
// Narrows the list that stands in the page. Words match by their beginning, with accents or without.
(() => {
  const form = document.getElementById("find"), list = document.getElementById("results");
  const count = document.getElementById("count"), kinds = ["theme", "place", "frequency"];
  const index = JSON.parse(document.getElementById("index").textContent);
  const cards = new Map([...list.children].map((card) => [card.dataset.id, card]));
  const listed = [...cards.keys()];
  const small = new Set(["va", "theo", "cua", "cac", "trong", "cho", "o", "the", "of", "by", "and", "in", "for", "a"]);
  const weights = { title: 9, keywords: 9, about: 3, columns: 1 };
  const tones = /[\u0300\u0301\u0303\u0309\u0323]/g;
  // A syllable: its bare letters, its letters with their own marks (ă, ơ, đ), and its tone, wherever that is typed.
  const apart = (word) => {
    const marked = word.toLowerCase().normalize("NFD");
    return {
      bare: marked.replace(/đ/g, "d").replace(/[\u0300-\u036f]/g, ""),
      letters: marked.replace(tones, "").normalize("NFC"),
      tone: (marked.match(tones) || [""])[0],
    };
  };
  const split = (text) => (text.normalize("NFC").match(/[\p{L}\p{N}|]+/gu) || []).map(apart);
  const phrase = (words) => " " + words.map((word) => word.bare).join(" ") + " ";
  // 3 where the whole word is there, 1 where one begins with it. What is typed with accents is meant with them.
  const fit = (typed, words) => {
    const plain = typed.letters === typed.bare && !typed.tone, { bare, letters, tone } = typed;
    let best = 0;
    for (const held of words) {
      if (held.bare === bare || plain && bare.length > 2 && (held.bare === bare + "s" || held.bare + "s" === bare)) {
        if (plain || held.letters === letters && (!tone || tone === held.tone)) return 3;
      } else if (plain ? held.bare.startsWith(bare) : held.letters.startsWith(letters) && (!tone || tone === held.tone)) {
        best = 1;
      }
    }
    return best;
  };
  const places = split(index.places);
  const entries = index.datasets.map((given) => {
    const fields = Object.entries(weights).map(([name, weight]) => ({ weight, words: split(given[name]) }));
    if (given.places) fields.push({ weight: 1, words: places });
    return { ...given, fields, phrases: phrase(fields.slice(0, 3).flatMap((field) => field.words)) };
  });
  const weigh = (entry, words, whole) => {
    const fits = words.map((word) => entry.fields.map(({ weight, words: held }) => [weight, fit(word, held)]));
    const each = fits.map((fields) => Math.max(...fields.map(([weight, how]) => weight * how)));
    const is_whole = fits.every((fields, at) => words[at].bare.length < 2 || fields.some(([, how]) => how === 3));
    const together = words.length > 1 && entry.phrases.includes(whole) ? 30 : 0;
    return { is_whole, weight: each.every(Boolean) ? each.reduce((sum, one) => sum + one, 1 + together) : 0 };
  };
  const show = () => {
    const typed = split(form.q.value.replaceAll("|", " "));
    const words = typed.filter((word) => !small.has(word.bare));
    const chosen = kinds.map((kind) => form[kind].value).filter(Boolean);
    const all = entries.filter((entry) => chosen.every((value) => entry.facets.includes(value)))
      .map((entry) => ({ id: entry.id, ...weigh(entry, words, phrase(typed)) }))
      .filter((entry) => entry.weight)
      // Where nothing is asked, as the page lists them.
      .sort((one, other) => other.weight - one.weight || (words.length ? 0 : listed.indexOf(one.id) - listed.indexOf(other.id)));
    // Once some hold every word whole, those with words that only begin so ("hạn", "hành") are noise.
    const whole = all.filter((entry) => entry.is_whole), found = whole.length ? whole : all;
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
