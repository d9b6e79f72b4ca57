// Long tables fold, wide ones show where they are cut, and links within the book show what they lead to.

(() => {
  const MOST_ROWS = 20; // what stands on a page unfolded
  const FOLDED_ROWS = 12;

  function fold(scroll) {
    const rows = [...scroll.querySelectorAll(":scope > table > tbody > tr")];
    if (rows.length <= MOST_ROWS) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "unfold";
    function set(open) {
      for (const row of rows.slice(FOLDED_ROWS)) row.hidden = !open;
      button.setAttribute("aria-expanded", open);
      button.textContent = open ? "Show fewer rows" : `Show all ${rows.length} rows`;
      mark(scroll);
    }
    button.addEventListener("click", () => set(button.getAttribute("aria-expanded") === "false"));
    scroll.after(button);
    set(false);
    // A link may lead into what is folded.
    function reveal() {
      const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
      if (!target || !scroll.contains(target) || !target.closest("tr[hidden]")) return;
      set(true);
      target.scrollIntoView();
    }
    addEventListener("hashchange", reveal);
    reveal();
  }

  // What scrolls can be reached with the keyboard, and a table fades where it goes on.
  function mark(scroll) {
    const { scrollWidth, clientWidth, scrollHeight, clientHeight, scrollLeft, scrollTop } = scroll;
    scroll.classList.toggle("cut", scrollLeft + clientWidth < scrollWidth - 1);
    scroll.classList.toggle("cut-below", scrollTop + clientHeight < scrollHeight - 1);
    if (scrollWidth > clientWidth + 1 || scrollHeight > clientHeight + 1) scroll.tabIndex = 0;
    else scroll.removeAttribute("tabindex");
  }

  function preview() {
    const data = document.getElementById("previews");
    if (!data || !window.bootstrap || !matchMedia("(hover: hover)").matches) return;
    for (const [href, [title, content]] of Object.entries(JSON.parse(data.textContent)))
      for (const link of document.querySelectorAll(`article a[href="${CSS.escape(href)}"]:not(.headerlink)`))
        new bootstrap.Popover(link, {
          title,
          content,
          trigger: "hover focus",
          placement: "auto",
          delay: { show: 300, hide: 100 },
          customClass: "preview",
        });
  }

  function start() {
    const sizes = new ResizeObserver((changes) => changes.forEach(({ target }) => mark(target)));
    for (const scroll of document.querySelectorAll(".table-scroll")) {
      fold(scroll);
      sizes.observe(scroll);
      scroll.addEventListener("scroll", () => mark(scroll), { passive: true });
    }
    window.MathJax?.startup?.promise.then(() => {
      for (const formula of document.querySelectorAll("mjx-container[display]")) sizes.observe(formula);
    });
    preview();
  }

  document.addEventListener("DOMContentLoaded", start);
})();
