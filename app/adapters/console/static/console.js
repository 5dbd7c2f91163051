// Progressive enhancement: every page also works without this script.
"use strict";

(() => {
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
  const minute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const second = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

  // Show times in the reader's time zone; the tooltip has the exact time in both zones.
  function localise(root) {
    for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time.dataset.local = "";
      time.title = `${second.format(at)} · ${time.title}`;
      time.textContent = ({ day, second: exact }[time.dataset.style] ?? minute).format(at);
    }
  }

  // Move the focus to the message of a swap, unless the reader is typing.
  function focusOnNews(root) {
    const wanted = root.matches?.("[data-focus]") ? root : root.querySelector?.("[data-focus]");
    if (wanted && !["INPUT", "TEXTAREA", "SELECT"].includes(document.activeElement?.tagName)) wanted.focus();
  }

  // If a swap removed the focused element, focus the part that replaced it. Elements with an id keep their focus.
  let around = [];
  document.addEventListener("htmx:before:swap", () => {
    around = [];
    for (let one = document.activeElement; one && one !== document.body; one = one.parentElement) around.push(one);
  });
  document.addEventListener("htmx:after:swap", () => {
    if (document.activeElement !== document.body || around[0]?.isConnected) return;
    const part = around.find((one) => one.isConnected);
    const landing = part?.querySelector("[data-lands]") ?? part;
    if (landing && !landing.hasAttribute("tabindex")) landing.tabIndex = -1;
    landing?.focus();
  });

  async function copy(button) {
    const text = document.getElementById(button.dataset.copy).textContent;
    const label = button.querySelector("span");
    const before = label.textContent;
    try {
      await navigator.clipboard.writeText(text);
      label.textContent = "Copied";
    } catch {
      label.textContent = "Select it and copy";
    }
    setTimeout(() => { label.textContent = before; }, 2500);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-copy], [data-print], [data-dialog]");
    if (!button) return;
    if (button.dataset.copy !== undefined) copy(button);
    if (button.dataset.print !== undefined) window.print();
    if (button.dataset.dialog !== undefined) document.getElementById(button.dataset.dialog).showModal();
  });

  // Pausing removes the element that receives the stream; its link reloads the current page.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("[data-removes]");
    const part = link && document.getElementById(link.dataset.removes);
    if (!part) return;
    event.preventDefault();
    part.remove();
    link.previousElementSibling?.replaceChildren("○ Paused");
    link.textContent = "Resume";
    link.href = location.href;
  });

  // Submit a form only once, and mark its button as busy.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || form.hasAttribute("hx-post")) return;
    if (form.dataset.sent !== undefined) event.preventDefault();
    form.dataset.sent = "";
    event.submitter?.setAttribute("aria-busy", "true");
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
    for (const button of document.querySelectorAll("button[aria-busy]")) button.removeAttribute("aria-busy");
  });

  // Ask before leaving a guarded form with unsaved input.
  document.addEventListener("input", (event) => {
    const form = event.target.closest?.("form[data-guard]");
    if (form) form.dataset.unsaved = "";
  });
  window.addEventListener("beforeunload", (event) => {
    if (document.querySelector("form[data-unsaved]:not([data-sent])")) event.preventDefault();
  });

  let leading = false;
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const led = leading;
    leading = false;
    if (led) {
      const link = document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`);
      if (link) link.click();
    } else if (event.key === "g") {
      leading = true;
      setTimeout(() => { leading = false; }, 1500);
    } else if (event.key === "/") {
      const search = document.querySelector("[data-search]");
      if (search) { event.preventDefault(); search.focus(); search.select(); }
    } else if (event.key === "?") {
      document.getElementById("keys")?.showModal();
    }
  });

  // A streamed update is merged into the page and has UTC times again.
  document.addEventListener("htmx:sse:after:message", () => localise(document));

  document.documentElement.classList.add("has-script");
  localise(document);
  focusOnNews(document.body);
  new MutationObserver((changes) => {
    for (const change of changes) {
      for (const node of change.addedNodes) {
        if (node.nodeType !== Node.ELEMENT_NODE) continue;
        localise(node.parentElement ?? node);
        focusOnNews(node);
      }
    }
  }).observe(document.body, { childList: true, subtree: true });
})();
