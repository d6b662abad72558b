// Refreshes the parts of the page that change, and searches while the user types. Without it the page works by reloading.
"use strict";
(() => {
  const INTERVAL = 5000;
  const live = document.getElementById("live");
  const search = document.getElementById("search");
  let timer = 0;
  let request = 0;
  document.documentElement.classList.add("script");

  // Replaces the parts of the page by those of a new one. What the user has opened, focused and scrolled stays.
  function replace(page) {
    const open = new Set([...document.querySelectorAll("details[open]")].map((it) => it.dataset.key));
    const focused = document.activeElement?.closest("main details")?.dataset.key;
    const scrolled = new Map([...document.querySelectorAll(".scroll")].map((it, at) => [at, it.scrollLeft]));
    for (const details of page.querySelectorAll("details")) {
      details.open = open.has(details.dataset.key);
    }
    document.querySelector("main").replaceWith(document.adoptNode(page.querySelector("main")));
    for (const [at, it] of document.querySelectorAll(".scroll").entries()) {
      it.scrollLeft = scrolled.get(at) ?? 0;
    }
    if (focused !== undefined) {
      const same = [...document.querySelectorAll("details")].find((it) => it.dataset.key === focused);
      same?.querySelector("summary").focus({ preventScroll: true });
    }
  }

  async function refresh() {
    clearTimeout(timer);
    const mine = ++request;
    try {
      const response = await fetch(location.href, { cache: "no-store" });
      if (!response.ok) {
        throw new Error("status " + response.status);
      }
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const selected = getSelection();
      // A selection of the user would be lost.
      if (mine === request && (selected === null || selected.isCollapsed)) {
        replace(page);
      }
      live.classList.remove("lost");
      live.textContent = "";
    } catch (error) {
      live.classList.add("lost");
      live.textContent = "No answer from the exporter (" + error.message + "): the page is from " + shown + ".";
      return;
    } finally {
      if (mine === request) {
        timer = setTimeout(refresh, document.hidden ? INTERVAL * 12 : INTERVAL);
      }
    }
    shown = new Date().toLocaleTimeString();
  }
  let shown = new Date().toLocaleTimeString();

  let typing = 0;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      const url = new URL(location.href);
      url.searchParams.set("q", search.value);
      history.replaceState(null, "", url);
      refresh();
    }, 150);
  });
  search.form.addEventListener("submit", (event) => {
    event.preventDefault();
    search.dispatchEvent(new Event("input"));
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      refresh();
    }
  });
  timer = setTimeout(refresh, INTERVAL);
})();
