// Light, dark, or as the system is set. Kept where the browser allows a file to keep anything.

const THEMES = ["system", "light", "dark"];

function setUpTheme() {
  const toggle = document.getElementById("theme");
  let theme = "system";
  try {
    theme = localStorage.getItem("casvit-dense-theme") ?? "system";
  } catch {
    // A file may not be allowed to keep anything.
  }
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    toggle.textContent = `Theme: ${theme}`;
    document.dispatchEvent(new Event("themechange"));
  };
  toggle.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    show();
    try {
      localStorage.setItem("casvit-dense-theme", theme);
    } catch {
      // It then lasts as long as the page.
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  toggle.hidden = false;
  show();
}
