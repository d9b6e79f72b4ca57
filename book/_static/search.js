// The page of the search: looks the question up in the text of the book, which lies in search-text.js.

(() => {
  const MOST_PAGES = 15;
  const SECTIONS_A_PAGE = 3;
  const SNIPPET = 220; // letters

  // "1-1-8" and "kd-stages" are words, and so are their parts.
  function tokenize(text) {
    const words = text.match(/[\p{L}\p{N}]+(?:[-_.][\p{L}\p{N}]+)*/gu) ?? [];
    return words.flatMap((word) => {
      const parts = word.split(/[-_.]/);
      return parts.length > 1 ? [word, ...parts.filter((part) => part.length > 1)] : [word];
    });
  }

  function build() {
    const index = new MiniSearch({ fields: ["page", "heading", "text", "data"], tokenize });
    index.addAll(SECTIONS.map((section, id) => ({ id, ...section })));
    return index;
  }

  // A question is made of words alone: who asks for "1-1-8" does not ask for "1" and "8".
  const words = (question) => question.match(/[\p{L}\p{N}]+(?:[-_.][\p{L}\p{N}]+)*/gu) ?? [];

  function find(index, question) {
    const options = { boost: { page: 4, heading: 3, data: 0.05 }, tokenize: words };
    const looked = { ...options, prefix: (term) => term.length > 2, combineWith: "AND" };
    let hits = index.search(question, looked);
    if (!hits.length) hits = index.search(question, { ...looked, fuzzy: (term) => term.length > 4 && 0.2 });
    if (!hits.length) hits = index.search(question, { ...looked, combineWith: "OR" });
    const pages = new Map();
    for (const hit of hits) {
      const section = SECTIONS[hit.id];
      const found = pages.get(section.page) ?? [];
      pages.set(section.page, [...found, { section, terms: hit.terms }]);
    }
    return pages;
  }

  // The words around the first place that has a term, with every term in bold.
  function snippet({ text, data }, terms) {
    const escaped = terms.map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const place = new RegExp(`(?<![\\p{L}\\p{N}])(${escaped.sort((a, b) => b.length - a.length).join("|")})`, "giu");
    const source = text.search(place) >= 0 || data.search(place) < 0 ? text : data;
    const at = Math.max(0, source.search(place) - SNIPPET / 3);
    const start = at && source.indexOf(" ", at) + 1;
    const cut = source.slice(start, start + SNIPPET).replace(start + SNIPPET < source.length ? /\s\S*$/ : "", "");
    const shown = document.createElement("p");
    shown.append(start ? "… " : "");
    for (const [i, part] of cut.split(place).entries()) {
      const node = document.createElement(i % 2 ? "mark" : "span");
      node.textContent = part;
      shown.append(node);
    }
    shown.append(start + SNIPPET < source.length ? " …" : "");
    return shown;
  }

  function link(url, text, terms) {
    const made = document.createElement("a");
    const [path, fragment] = url.split("#");
    made.href = `${path}?highlight=${encodeURIComponent(terms.join(" "))}${fragment ? `#${fragment}` : ""}`;
    made.textContent = text;
    return made;
  }

  function show(pages, question, results) {
    const count = document.createElement("p");
    count.className = "search-count";
    count.textContent = pages.size
      ? `“${question}” is on ${pages.size} ${pages.size > 1 ? "pages" : "page"}.`
      : `Nothing has “${question}” in it.`;
    results.replaceChildren(count);
    for (const [page, found] of [...pages].slice(0, MOST_PAGES)) {
      const heading = document.createElement("h2");
      heading.append(link(found[0].section.url.split("#")[0], page, found[0].terms));
      results.append(heading);
      for (const { section, terms } of found.slice(0, SECTIONS_A_PAGE)) {
        const shown = snippet(section, terms);
        if (section.heading !== page) shown.prepend(link(section.url, section.heading, terms), ": ");
        results.append(shown);
      }
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const question = (new URLSearchParams(location.search).get("q") ?? "").trim();
    if (!question) return;
    for (const field of document.querySelectorAll("input[name=q]")) field.value = question;
    show(find(build(), question), question, document.getElementById("search-results"));
  });
})();
