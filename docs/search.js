// The order of search results: a name, then guides, the catalogue of all building blocks first,
// then what only contains a name.
const BACKGROUND = ["architecture", "performance", "claims", "bench", "changelog", "contributing"];
var Scorer = {
  score: ([page, , , , score]) =>
    page === "reference/modules" ? score - 30
      : page.startsWith("reference/") ? score
      : score + (BACKGROUND.includes(page) ? 9 : page === "catalogue" ? 19 : 18),
  objNameMatch: 11, objPartialMatch: 6,
  objPrio: { 0: -5, 1: 15, 2: -5 }, objPrioDefault: 0, // 0 are modules
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
