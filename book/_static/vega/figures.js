// Puts every interactive figure of a page in place of its still picture, which stays where scripts do not run.
(() => {
  const folder = new URL(".", document.currentScript.src).href;
  const script = (name) =>
    new Promise((resolve, reject) => {
      const tag = document.createElement("script");
      tag.src = folder + name;
      tag.onload = resolve;
      tag.onerror = () => reject(new Error(`${name} could not be loaded`));
      document.head.append(tag);
    });
  let engine;
  const load = () => (engine ??= script("vega.min.js").then(() => script("vega-embed.min.js")));

  const mount = async (figure) => {
    const spec = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const { content_root: root, theme } = document.documentElement.dataset;
    await load();
    const live = document.createElement("div");
    live.style.width = "100%";
    figure.prepend(live);
    await window.vegaEmbed(live, spec, {
      mode: "vega",
      renderer: "svg",
      actions: false,
      // Links of a figure are written from the top of the book, wherever its page is.
      loader: { baseURL: (root || "./").replace(/\/$/, "") },
      tooltip: { theme: theme === "dark" ? "dark" : "light" },
    });
    live.nextElementSibling.remove();
  };

  const start = () => {
    const watch = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        watch.unobserve(target);
        mount(target).catch((error) => console.error(error));
      }
    }, { rootMargin: "400px" });
    document.querySelectorAll("figure.interactive").forEach((figure) => watch.observe(figure));
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
