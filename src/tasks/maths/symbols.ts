// Tables of what signs and commands mean: every way to write a thing has one name here.

/** Commands (without the backslash) that only arrange or emphasise; dropped. */
export const LAYOUT: ReadonlySet<string> = new Set(
  (
    "left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle scriptstyle limits " +
    "nolimits quad qquad nonumber rm bf it mathopen mathclose mathbf mathit mathbb mathcal boldsymbol bm vec hat widehat tilde " +
    "overrightarrow underline boxed fbox phantom angle triangle $ ( ) [ ] ! ; : , >"
  ).split(" "),
);

/** Commands whose group is text. */
export const TEXT_COMMANDS: ReadonlySet<string> = new Set(
  "text textbf textit textrm textnormal textsf texttt mbox hbox mathrm mathsf operatorname emph".split(" "),
);

/** Commands that the parser knows by name. */
export const COMMANDS: ReadonlySet<string> = new Set(["frac", "sqrt", "binom", "overline", "bar"]);

export const FUNCTIONS: ReadonlySet<string> = new Set(
  "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp".split(" "),
);

export const GREEK: ReadonlySet<string> = new Set(
  (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau upsilon phi varphi " +
    "chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell"
  ).split(" "),
);

const pairs = (text: string): [string, string][] => text.split(" ").map((pair) => pair.split("~") as [string, string]);

/** Commands (without the backslash) that are another way to write a sign or a command. */
export const ALIASES: ReadonlyMap<string, string> = new Map(
  pairs(
    "dfrac~frac tfrac~frac cfrac~frac dbinom~binom tbinom~binom cdot~* times~* ast~* div~/ le~<= leq~<= leqslant~<= ge~>= geq~>= " +
      "geqslant~>= lt~< gt~> ne~!= neq~!= approx~approx equiv~= in~in cup~cup pm~+- mp~-+ infty~infinity circ~deg degree~deg %~% " +
      "{~\\{ }~\\} lbrace~\\{ rbrace~\\} langle~( rangle~) lparen~( rparen~) lbrack~[ rbrack~] lvert~| rvert~| vert~| mid~| " +
      "lfloor~lfloor rfloor~rfloor lceil~lceil rceil~rceil land~and wedge~and lor~or vee~or colon~: slash~/ _~_",
  ),
);

/** Single characters outside a command. */
export const CHARACTERS: ReadonlyMap<string, string> = new Map(
  pairs(
    "+~+ -~- *~* /~/ ^~^ _~_ (~( )~) [~[ ]~] {~{ }~} |~| !~! =~= <~< >~> ,~, ;~; :~: .~. &~& %~% " +
      "\u2212~- \u2013~- \u00d7~* \u00b7~* \u22c5~* \u00f7~/ \u2044~/ \u2264~<= \u2265~>= \u2260~!= \u2248~approx \u2208~in " +
      "\u222a~cup \u00b1~+- \u2213~-+ \u221e~infinity \u00b0~deg",
  ),
);

/** Characters that stand for several. */
export const SPELLED_OUT: ReadonlyMap<string, string> = new Map([
  ["\u03c0", "\\pi "],
  ["\u03b8", "\\theta "],
  ["\u221a", "\\sqrt "],
  ["\u00b2", "^2"],
  ["\u00b3", "^3"],
  ["\u00bd", "\\frac12"],
  ["\u00bc", "\\frac14"],
  ["\u00be", "\\frac34"],
]);

/** Runs of plain letters that are words although they are shorter than MIN_WORD. */
export const SHORT_WORDS: ReadonlySet<string> = new Set(
  "cm mm km kg mg ml ft yd mi hr hrs min mins sec secs mph am pm and or yes no odd one two six ten day days".split(" "),
);
export const MIN_WORD = 4; // letters: a run this long is a word, not a product of letters

/** Words that multiply the number before them. */
export const MULTIPLIERS: ReadonlyMap<string, string> = new Map([
  ["hundred", "100"],
  ["thousand", "1000"],
  ["million", "1000000"],
  ["billion", "1000000000"],
  ["trillion", "1000000000000"],
]);
