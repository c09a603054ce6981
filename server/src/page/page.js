"use strict";

// Replaces the content of the page every second, and says when the node does not answer. Without it, the page reloads.
const INTERVAL_MS = 1000;
const TIMEOUT_MS = 3000;

async function refresh() {
  const selection = document.getSelection();
  // Text that is being selected, and a page that is not looked at, stay as they are.
  if (document.hidden || (selection && !selection.isCollapsed)) return;
  try {
    const response = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const content = page.querySelector("main");
    if (!response.ok || !content) throw new Error(response.statusText);
    document.querySelector("main").replaceWith(content);
    document.title = page.title;
    document.body.className = "is-live";
  } catch {
    document.body.className = "is-stale";
  }
}

async function run() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
    await refresh();
  }
}

run();
