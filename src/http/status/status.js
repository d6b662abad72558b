// Refreshes the parts of the page that change, and searches while the user types. Without it the page works by reloading.
"use strict";
(() => {
  const INTERVAL = 5000;
  const TIMEOUT = 15000;
  const live = document.getElementById("live");
  const search = document.getElementById("search");
  let timer = 0;
  let request = 0;
  // When the values of the page were fetched.
  let shown = new Date().toLocaleTimeString();
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
    let message = "";
    try {
      const signal = AbortSignal.timeout(TIMEOUT);
      const response = await fetch(location.href, { cache: "no-store", signal });
      if (!response.ok) {
        throw new Error("status " + response.status);
      }
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const selected = getSelection();
      // A selection of the user would be lost.
      if (mine === request && (selected === null || selected.isCollapsed)) {
        replace(page);
        shown = new Date().toLocaleTimeString();
      }
    } catch (error) {
      message = "Cannot refresh (" + error.message + "): the page is from " + shown + ".";
    }
    // A later request shows its own result.
    if (mine !== request) {
      return;
    }
    live.classList.toggle("lost", message !== "");
    // A screen reader reads each change.
    if (live.textContent !== message) {
      live.textContent = message;
    }
    timer = setTimeout(refresh, document.hidden ? INTERVAL * 12 : INTERVAL);
  }

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
