// Sets the chosen theme and density before the first paint; without a choice the system decides.
(function (root) {
  try {
    var theme = localStorage.getItem('otus.theme');
    if (theme === 'dark' || theme === 'light' || theme === 'contrast') root.dataset.theme = theme;
    var density = localStorage.getItem('otus.density');
    if (density === 'compact' || density === 'wall') root.dataset.density = density;
  } catch (_) { /* storage may be forbidden; the system's theme stands */ }
})(document.documentElement);
