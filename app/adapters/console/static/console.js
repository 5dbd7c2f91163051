// What the pages do beyond links and forms. Everything here is an ease: without it, all of them work.
"use strict";

(() => {
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
  const minute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const second = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

  // Times in the reader's zone; the exact one, in both zones, on hover.
  function localise(root) {
    for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time.dataset.local = "";
      time.title = `${second.format(at)} · ${time.title}`;
      time.textContent = ({ day, second: exact }[time.dataset.style] ?? minute).format(at);
    }
  }

  // A swap takes the focus to what it says, unless the reader is typing.
  function focusOnNews(root) {
    const wanted = root.matches?.("[data-focus]") ? root : root.querySelector?.("[data-focus]");
    if (wanted && !["INPUT", "TEXTAREA", "SELECT"].includes(document.activeElement?.tagName)) wanted.focus();
  }

  // A swap that took away what had the focus gives it to the part that came instead. What has an id keeps it by itself.
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

  // To pause, the part that listens is taken away: what is shown stays as it is. The link leads to the page of now.
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

  // A form is sent once, however often its button is pressed, and the button shows that it was.
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

  // What was typed into a guarded form and not saved is not left without a question.
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

  // What comes by a stream is worked into what is there, whose times are then the sender's again.
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
