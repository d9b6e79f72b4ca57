// The page "Try it": loads nothing until it is asked to, then classifies what is typed.
// A classic script, because a module is not even started where the page was opened as a file.

(() => {
  const base = new URL(".", document.currentScript.src);
  const root = document.getElementById("try-it");
  const [form, table, status] = ["form", "table", ".try-it-status"].map((name) => root.querySelector(name));
  const [load, more] = [".try-it-load", ".try-it-more"].map((name) => root.querySelector(name));
  const text = form.querySelector("textarea");
  const loaded = []; // entries of models.json, each with its classifier
  let page, parts, ort, vocabulary;

  function missing() {
    if (typeof WebAssembly !== "object") return "This browser has no WebAssembly, and the model needs it.";
    if (typeof DecompressionStream !== "function")
      return "This browser has no DecompressionStream to unpack the model with: a newer one is needed.";
    if (location.protocol === "file:")
      return "This page was opened as a file, which may not load what lies beside it. Serve the folder of the book, for example with python -m http.server, and open it from there.";
    return null;
  }

  function size(bytes) {
    return bytes < 1e5 ? `${(bytes / 1e3).toFixed(0)}\u00a0kB` : `${(bytes / 1e6).toFixed(1)}\u00a0MB`;
  }

  function button(label, action) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = label;
    made.addEventListener("click", () => busy(made, action));
    return made;
  }

  // Runs what a button asks for, one thing at a time; what fails is said in the page. The button is not really disabled,
  // which would take the keyboard's focus from it, and the page not aria-busy, which would silence its status.
  async function busy(pressed, action) {
    if ("busy" in root.dataset) return;
    root.dataset.busy = "";
    pressed.setAttribute("aria-disabled", "true");
    try {
      await action();
    } catch (error) {
      status.textContent = `That did not work: ${error.message}`;
    }
    pressed.removeAttribute("aria-disabled");
    delete root.dataset.busy;
  }

  async function start() {
    status.textContent = "Loading the engine and the model …";
    page = await (await fetch(new URL("models.json", base))).json();
    parts = await import(new URL("classifier.mjs", base));
    const [engine, wasm, words] = await Promise.all([
      import(new URL("engine/ort.wasm.bundle.min.mjs", base)),
      parts.fetchUnpacked(new URL("engine/ort-wasm-simd-threaded.wasm.gz", base)),
      parts.fetchUnpacked(new URL(page.vocabulary.file, base)),
    ]);
    ort = parts.startEngine(engine, wasm);
    vocabulary = new TextDecoder().decode(words);
    await add(page.models[0]);
    load.parentElement.remove();
    form.hidden = more.hidden = false;
    more.append(button("Compare with Python", compare));
    for (const model of page.models.slice(1)) {
      const wanted = button(`Add ${model.precision} (${size(model.bytes)})`, async () => {
        status.textContent = `Loading ${model.precision} …`;
        await add(model);
        wanted.remove();
        text.focus();
        await classify();
      });
      more.append(wanted);
    }
    text.value ||= page.sentences[0];
    await classify();
    text.focus();
    text.select();
  }

  async function add(model) {
    const graph = await parts.fetchUnpacked(new URL(model.file, base));
    const within = loaded.filter(({ file }) => file === model.within);
    const files = within.map(({ file, graph }) => ({ path: file, data: graph }));
    const classifier = await parts.Classifier.create(ort, graph, vocabulary, page.max_length, files);
    await classifier.time(page.max_length, 3); // the first runs compile
    const bytes = within.reduce((sum, { bytes }) => sum + bytes, model.bytes);
    loaded.push({ ...model, bytes, graph, classifier });
  }

  async function classify() {
    if (!text.value.trim()) {
      status.textContent = "Type a sentence first.";
      return;
    }
    const rows = [];
    let found;
    for (const { precision, bytes, classifier } of loaded) {
      found = await classifier.classify(text.value);
      rows.push(row(`${precision}, ${size(bytes)}`, found));
    }
    table.querySelector("tbody").replaceChildren(...rows);
    table.hidden = false;
    status.textContent = found.cut
      ? `The text is longer than the ${page.max_length} word pieces that the model reads, and its end was cut off.`
      : `${found.pieces} word pieces.`;
  }

  function row(model, { probabilities, milliseconds }) {
    const made = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = model;
    made.append(head);
    const best = parts.argmax(probabilities);
    const percent = (100 * probabilities[best]).toFixed(1);
    made.insertCell().textContent = `${page.labels[best]}, ${percent}\u00a0%`;
    made.cells[1].style.setProperty("--probability", `${percent}%`);
    made.insertCell().textContent = `${milliseconds.toFixed(1)} ms`;
    return made;
  }

  async function compare() {
    const said = [];
    for (const { precision, logits, classifier } of loaded) {
      status.textContent = `Comparing ${precision} …`;
      const { equal, close, apart } = await parts.compare(classifier, page.sentences, logits);
      const time = await classifier.time(32);
      const others = close < logits.length ? `, and the others differ by at most ${apart.toFixed(3)}` : "";
      said.push(
        `${precision}: ${equal} of ${logits.length} labels are those of Python. Logits of ${close} are equal to ` +
          `0.00001${others}. 32 word pieces take ${time.toFixed(1)} ms.`,
      );
    }
    status.textContent = said.join("\n");
  }

  load.addEventListener("click", () => {
    const lacking = missing();
    if (lacking) status.textContent = lacking;
    else busy(load, start);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(form.querySelector("button"), classify);
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
})();
