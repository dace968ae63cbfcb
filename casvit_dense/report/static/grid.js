// Tables that sort by their headings and filter by text and by the values of some columns.

function setUpGrid(grid) {
  const table = grid.querySelector("table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows].map((row) => ({
    row,
    cells: [...row.cells].map((cell) => cell.querySelector(".value")?.textContent ?? ""),
    keys: [...row.cells].map((cell) => cell.dataset.key),
    text: row.textContent.toLowerCase(),
  }));
  const limit = Number(grid.dataset.shown);
  const state = { text: "", values: new Map(), all: false };
  const status = el("span", { role: "status" });
  const more = button("", () => {
    state.all = !state.all;
    show();
  }, { class: "more control" });

  function show() {
    let found = 0;
    for (const { row, cells, text } of rows) {
      const fits =
        text.includes(state.text) &&
        [...state.values].every(([column, value]) => cells[column] === value);
      if (fits) found += 1;
      if (row.hidden === fits) row.hidden = !fits;
      row.classList.toggle("beyond", fits && !state.all && found > limit);
    }
    status.textContent =
      found === rows.length ? `${rows.length} rows` : `${found} of ${rows.length} rows`;
    more.hidden = found <= limit;
    more.textContent = state.all ? `Show the first ${limit}` : `Show all ${found} rows`;
  }

  function sort(column) {
    const upwards = heads[column].getAttribute("aria-sort") !== "ascending";
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", upwards ? "ascending" : "descending");
    rows.sort((a, b) => order(a.keys[column], b.keys[column], upwards ? 1 : -1));
    body.append(...rows.map(({ row }) => row));
    show();
  }

  heads.forEach((head, column) => {
    head.replaceChildren(button(head.textContent, () => sort(column)));
  });
  if (rows.length > 1) grid.prepend(tools());
  grid.append(more);
  show();

  function tools() {
    const search = el("input", {
      type: "search",
      oninput: () => {
        state.text = search.value.trim().toLowerCase();
        show();
      },
    });
    const selects = heads.flatMap((head, column) => {
      const values = [...new Set(rows.map(({ cells }) => cells[column]))].sort(COLLATOR.compare);
      if (!("choose" in head.dataset) || values.length < 2) return [];
      const options = [["", "all"], ...values.map((value) => [value, value])];
      return choice(head.textContent, options, "", (value) => {
        if (value) state.values.set(column, value);
        else state.values.delete(column);
        show();
      });
    });
    const filter = el("label", {}, el("span", {}, "Filter by text"), search);
    return el("div", { class: "tools control" }, filter, selects, status);
  }
}

const COLLATOR = new Intl.Collator("en", { numeric: true });

/** Numbers by size, texts by alphabet, empty cells last either way. */
function order(a, b, direction) {
  if (a === b) return 0;
  if (a === "") return 1;
  if (b === "") return -1;
  const difference = Number(a) - Number(b);
  return direction * (Number.isNaN(difference) ? COLLATOR.compare(a, b) : difference);
}

/** A button beside every command. */
function setUpCopying() {
  for (const code of document.querySelectorAll("td > code")) {
    const copy = button("Copy", async () => {
      copy.textContent = (await copyText(code.textContent)) ? "Copied" : "Not allowed";
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    }, { class: "control", "aria-label": `Copy: ${code.textContent}`, "aria-live": "polite" });
    const box = el("div", { class: "copying" });
    code.before(box);
    box.append(code, copy);
  }
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyOldWay(text); // pages from disk have no clipboard in some browsers
  }
}

function copyOldWay(text) {
  const area = el("textarea", { readonly: true });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
