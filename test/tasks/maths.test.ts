// Answers against references, one line each. `$`, `\` and braces make TypeScript strings hard to read, so the lines stand in raw templates.
import { describe, expect, test } from "vitest";
import { checkMathsReference, extractMathsAnswer, gradeMaths, gsm8kReference } from "../../src/tasks/index.js";

type Pair = readonly [answer: string, reference: string];

/** Lines "answer <-> reference"; anything behind a second mark is a third field. */
const table = (lines: string): string[][] =>
  lines
    .trim()
    .split("\n")
    .map((line) => line.split("<->").map((part) => part.trim()));

const EQUAL = table(String.raw`
  1,000   <->   1000
  1{,}000   <->   1000
  1\,000   <->   1000
  1,\!000,\! 000   <->   1000000
  1,234,567.5   <->   1234567.5
  0.5   <->   \frac12
  .5   <->   1/2
  \dfrac{1}{2}   <->   \tfrac{2}{4}
  \frac{-1}{2}   <->   -\frac{1}{2}
  \frac{1}{-2}   <->   -0.5
  -\frac{1}{2}   <->   -1/2
  2\frac{1}{2}   <->   5/2
  2 1/2   <->   5/2
  -2\frac12   <->   -2.5
  50\%   <->   \frac12
  50\%   <->   50
  50   <->   50\%
  0.5   <->   50\%
  50\text{ percent}   <->   50\%
  3\times10^5   <->   300000
  3 \cdot 10^{-2}   <->   0.03
  1.5e-3   <->   0.0015
  3e5   <->   300000
  \sqrt{8}   <->   2\sqrt{2}
  \sqrt[3]{27}   <->   3
  \sqrt[3]{x^3}   <->   x
  sqrt(12)   <->   2\sqrt3
  √13   <->   \sqrt{13}
  2\pi   <->   2π
  \frac{\pi}{2}   <->   \pi/2
  3.14   <->   3.140
  0.\overline{3}   <->   \frac13
  0.1\overline{6}   <->   1/6
  x^2+2x+1   <->   (x+1)^2
  (b+2)(a+5)   <->   (a+5)(b+2)
  \frac{11+9a}{20}   <->   \frac{9a+11}{20}
  2^{n+1}   <->   2\cdot2^n
  \sin 2x   <->   2\sin x\cos x
  \sin^2 x+\cos^2 x   <->   1
  \cos(60^\circ)   <->   1/2
  \tan^{-1}(1)   <->   \frac{\pi}{4}
  \log_2 8   <->   3
  \ln(e^2)   <->   2
  |{-3}|   <->   3
  5!   <->   120
  \binom{5}{2}   <->   10
  \lfloor 3.7 \rfloor   <->   3
  x=5   <->   5
  5   <->   x=5
  5=x   <->   5
  f(x)=2x+1   <->   2x+1
  y=2x+3   <->   y = 3+2x
  2x+3   <->   y=2x+3
  y - 2x = 3   <->   y=2x+3
  10x-14y+22z+8=0   <->   5x-7y+11z+4=0
  AB = 5   <->   5
  P(A) = \frac{1}{2}   <->   1/2
  2+8=10   <->   10
  (1,2)   <->   \left( 1, 2 \right)
  \{1,2\}   <->   \{2,1\}
  2, 1   <->   1,2
  2,1   <->   \{1,2\}
  x=1, x=2   <->   1,2
  x = 1 \text{ or } x = 2   <->   1, 2
  1 and 2   <->   1,2
  \{1,1,2\}   <->   \{1,2\}
  100,200   <->   200, 100
  (-\infty, 2)\cup(3,\infty)   <->   (3,\infty) \cup (-\infty,2)
  (-∞,2) ∪ (3,∞)   <->   (-\infty, 2) \cup (3, \infty)
  x \in [-2,7]   <->   [-2,7]
  -2 \le x \le 7   <->   x \in [-2,7]
  x > 5   <->   (5,\infty)
  x \leq 0   <->   (-\infty, 0]
  x<2 \text{ or } x>3   <->   (-\infty, 2) \cup (3, \infty)
  \begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}   <->   \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}
  \begin{pmatrix} -0.2 \\ 1 \end{pmatrix}   <->   \begin{pmatrix} -1/5 \\ 1 \\ \end{pmatrix}
  90   <->   90^\circ
  90^{\circ}   <->   90^\circ
  90°   <->   90
  90 \text{ degrees}   <->   90^\circ
  1010_2   <->   1010_{2}
  1010   <->   1010_2
  12_4   <->   6
  C   <->   \text{(C)}
  (C)   <->   \text{(C)}
  \text{C}   <->   C
  \textbf{(C)}   <->   \text{(C)}
  evelyn   <->   \text{Evelyn}
  Evelyn   <->   \text{Evelyn}
  \$5   <->   5
  $5   <->   \$5
  \$32{,}348   <->   \$32,\!348
  \$18.9   <->   \$18.90
  5\text{ cm}   <->   5
  5   <->   5 \text{ cm}^2
  5 cm^2   <->   5 \text{ cm}^2
  5 \text{ square centimeters}   <->   5 \text{ cm}^2
  5 apples   <->   5
  864 inches^2   <->   864 \mbox{ inches}^2
  3\pm\sqrt{2}   <->   3+\sqrt2, 3-\sqrt2
  x = 3\pm\sqrt{2}   <->   3\pm\sqrt2
  \pm 2   <->   2, -2
  $5$   <->   5
  \(5\)   <->   5
  \[ 5 \]   <->   5
  5.   <->   5
  **5**   <->   5
  \boxed{5}   <->   5
  6-5i   <->   -5i+6
  (2+i)^2   <->   3+4i
  3:2   <->   6:4
  3:2   <->   3/2
  4:30 \text{ p.m.}   <->   \text{4:30 p.m.}
  2^{2008}   <->   2^{2008}
  \infty   <->   +\infty
  \frac{1}{x}   <->   x^{-1}
  \sqrt{x^2}   <->   x
  8^{2/3}   <->   4
  (-8)^{1/3}   <->   (-8)^{1/3}
  \text{No solution}   <->   \text{no solution}
  \frac{\sqrt{3}}{3}   <->   \frac{1}{\sqrt{3}}
  \sqrt{3+2\sqrt{2}}   <->   1+\sqrt2
  1000000000000000000001   <->   1000000000000000000001.0
  \frac{3}{4}x   <->   3x/4
  \frac{1}{2}\text{ hour}   <->   0.5
  \text{5 cm}   <->   5
  \mathrm{5}   <->   5
  12.0   <->   12
  2x   <->   2 \cdot x
  \theta = 30^\circ   <->   30
  \cot x   <->   \frac{\cos x}{\sin x}
  k \neq 3   <->   k \ne 3
  3x < 6y   <->   x < 2y
  \langle 1,2\rangle   <->   (1,2)
  -\frac{35}{9}   <->   \frac{-35}{9}
  0.0000672   <->   .0000672
  6.72 \times 10^{-5}   <->   .0000672
  \frac{1}{2}, \frac{1}{3}   <->   \frac13,\frac12
  n(n+1)/2   <->   \frac{n^2+n}{2}
  x_1 + x_2   <->   x_2+x_1
  \left(\frac{3}{5},\frac{8}{3}\right]   <->   (0.6, 8/3]
  -1/3   <->   -\frac{1}{3}
  x^{10}   <->   x^10
  101_{\text{two}}   <->   101_{\text{two}}
  5 \text{ and } 6   <->   5,6
  \text{Area} = 12   <->   12
  12\text{ cm}, 5\text{ cm}   <->   5, 12
  10\text{ m/s}   <->   10
  1/2x   <->   x/2
  \{ \}   <->   \emptyset
  3R^2   <->   3 R^{2}
  \frac{x+1}{x-1}   <->   1+\frac{2}{x-1}
  x^2\frac{1}{2}   <->   x^2/2
  x^{12}+1   <->   x^12+1
  (x,y) = (1,2)   <->   (1,2)
  a+b=10   <->   10
  \text{(A)}   <->   A
  5 \text{ ft } 3 \text{ in}   <->   5 \text{ ft } 3 \text{ in}
  (1,2) \text{ or } (3,4)   <->   (3,4), (1,2)
  1,100   <->   100, 1
  100, 1   <->   1,100
  3 \text{ m/s}^{2}   <->   3
  \text{(A) }   <->   A
  \text{Evelyn}.   <->   \text{Evelyn}
  x = 2 \text{ and } y = 3   <->   x=2, y=3
  \left\{ 1, 2 \right\}   <->   \{1,2\}
  {1, 2}   <->   \{1,2\}
  1,200,3   <->   3, 200, 1
  e^{i\pi}   <->   -1
  \sqrt{-4}   <->   2i
  1 - \frac{2}{3}i   <->   1-2i/3
  A, C, E   <->   \text{A, C, E}
  Yes   <->   \text{Yes}
  \$1,\!000.00   <->   1000
  4x^2+9y^2=36   <->   \frac{x^2}{9}+\frac{y^2}{4}=1
  x+2y=6   <->   y = -\frac{1}{2}x + 3
  \angle A = 30^\circ   <->   30
  12\,\text{ft}^2   <->   12
  1\ 000   <->   1000
  \frac{3}{4} \text{ of the cake}   <->   0.75
  -\left(\frac{1}{2}\right)^3   <->   -1/8
  2^{-3}   <->   0.125
  (-2)^3   <->   -8
  -2^2   <->   -4
  4! - 4   <->   20
  |x-1|   <->   |1-x|
  a^{1/2}   <->   \sqrt{a}
  x^{3/2}   <->   x\sqrt{x}
  \frac{1}{\sqrt{2}+1}   <->   \sqrt2-1
  \log 100   <->   2
  \log_{10}(1000)   <->   3
  \ln 2+\ln 3   <->   \ln 6
  \arctan 1   <->   \pi/4
  \sin(\pi/6)   <->   0.5
  \sin 30^\circ   <->   0.5
  0.1+0.2   <->   0.3
  12345678901234567890   <->   12{,}345{,}678{,}901{,}234{,}567{,}890
  \frac{12345678901234567890}{3}   <->   4115226300411522630
  (1/2, \sqrt{4})   <->   (0.5, 2)
  [0, \infty)   <->   x \ge 0
  0 < x   <->   (0, \infty)
  (0,1) \cup [2, 3)   <->   [2,3)\cup(0,1)
  \begin{pmatrix} \frac12 \\ 3 \end{pmatrix}   <->   \begin{bmatrix} 0.5 \\ 3 \end{bmatrix}
  \begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array}   <->   \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}
  A3_{16}   <->   a3_{16}
  3A_{16}   <->   3A_{16}
  10 \text{ minutes}   <->   10 \text{ min}
  5 \frac{\text{m}}{\text{s}}   <->   5 \frac{\text{m}}{\text{s}}
  3.5\times 10^{4}   <->   35,000
  1 + \frac{1}{1+\frac{1}{2}}   <->   5/3
  \frac{n!}{(n-1)!}   <->   \frac{n!}{(n-1)!}
  \sum_{i=1}^n i   <->   \sum_{i=1}^{n} i
  \dfrac{-3 \pm \sqrt{5}}{2}   <->   \frac{-3+\sqrt5}{2}, \frac{-3-\sqrt5}{2}
  x=\frac{-b\pm\sqrt{b^2-4ac}}{2a}   <->   \frac{-b\pm\sqrt{b^2-4ac}}{2a}
  2\sqrt[4]{4}   <->   2\sqrt2
  \text{odd}   <->   odd
  11:00   <->   11:00
  1/3 : 1/2   <->   2:3
  1:2:3   <->   2:4:6
  3 \mathrm{~cm}   <->   3
  3\,\mathrm{cm}^2   <->   3 \text{ cm}^2
  10^{10^{1}}   <->   10000000000
  \frac{5}{\,8\,}   <->   5/8
  \frac{\sqrt{2}}{\sqrt{3}}   <->   \frac{\sqrt6}{3}
  f^{-1}(x)=x/2   <->   x/2
  \overline{AB}   <->   AB
  1.0 \cdot 10^{3}   <->   1000
  \frac {1} {2}   <->   0.5
  5\% \text{ of } x   <->   5\% \text{ of } x
  \text{June 20}   <->   June 20
  20 \text{ June}   <->   20
  i\sqrt{3}   <->   \sqrt{-3}
  \emptyset   <->   \{\}
  no   <->   \text{No}
  5\text{cm}\times 3\text{cm}   <->   5\text{cm} \times 3\text{cm}
  33\frac{1}{3}\%   <->   \frac{1}{3}
  33\frac13   <->   33\frac{1}{3}\%
  0   <->   0^\circ
  -0   <->   0
  2(x+1)   <->   2x+2
  x(x+1)(x+2)   <->   x^3+3x^2+2x
  +5   <->   5
  \ 5   <->   5
  5\,   <->   5
  5 \; \text{units}   <->   5
  \$ 5 \text{ million}   <->   5 \text{ million}
  B   <->   (B)
  \boxed{B}   <->   \textbf{(B)}
  \sqrt{2} \approx 1.414   <->   \sqrt{2}
  3 + 4 = 7   <->   7
  5 = 5   <->   5
  \frac{22}{7} \approx 3.14   <->   22/7
  \lfloor -3.7 \rfloor   <->   -4
  \lceil -3.2 \rceil   <->   -3
  5 \text{ cubic feet}   <->   5 \text{ ft}^3
  \pm 1 \mp \sqrt2   <->   1-\sqrt2, -1+\sqrt2
  2\frac{3}{2}   <->   3
  1/6+1/3   <->   1/2
  (-1)^{2001}   <->   -1
  \sqrt{6}, \sqrt{6}   <->   \sqrt{6}, \sqrt{6}
`);

const UNEQUAL = table(String.raw`
  50\%   <->   5000\%   <->   wrong value
  50\%   <->   0.05   <->   wrong value
  3.14   <->   \pi   <->   wrong value
  0.333   <->   \frac13   <->   wrong value
  x^2+2x+2   <->   (x+1)^2   <->   wrong value
  5x-7y+11z=4   <->   5x-7y+11z+4=0   <->   wrong value
  x=5   <->   y=5   <->   wrong value
  x=5   <->   x=6   <->   wrong value
  (2,1)   <->   (1,2)   <->   wrong value
  1   <->   1,2   <->   wrong count
  1,2,3   <->   1,2   <->   wrong count
  (-\infty, 2]\cup(3,\infty)   <->   (3,\infty) \cup (-\infty,2)   <->   wrong value
  (-2,7]   <->   [-2,7]   <->   wrong form
  \begin{pmatrix} 1 & 2 \end{pmatrix}   <->   \begin{pmatrix} 1 \\ 2 \end{pmatrix}   <->   wrong count
  10   <->   1010_2   <->   wrong value
  22_4   <->   1010_2   <->   wrong form
  \text{(D)}   <->   \text{(C)}   <->   wrong value
  Angela   <->   \text{Evelyn}   <->   wrong value
  seat   <->   east   <->   wrong value
  5 \text{ cm}   <->   5 \text{ m}   <->   wrong unit
  5 \text{ cm}   <->   5 \text{ cm}^2   <->   wrong unit
  2   <->   \pm 2   <->   wrong count
  6+5i   <->   6-5i   <->   wrong value
  2:15   <->   4:30   <->   wrong value
  4:30 \text{ a.m.}   <->   \text{4:30 p.m.}   <->   wrong value
  -\infty   <->   \infty   <->   wrong value
  1.41421356   <->   \sqrt{2}   <->   wrong value
  1000000000000000000001   <->   1000000000000000000002   <->   wrong value
  3x > 6y   <->   x < 2y   <->   wrong value
  x_1   <->   x_2   <->   wrong value
  3r^2   <->   3R^2   <->   wrong value
  x+y=0   <->   0   <->   wrong form
  5 \text{ ft } 3 \text{ in}   <->   5   <->   unreadable answer
  (1,2), (3,5)   <->   (3,4), (1,2)   <->   wrong value
  5   <->   \{5\}   <->   wrong form
  \{1,1,2\}   <->   \{1,2,3\}   <->   wrong count
  5 = x   <->   y = 5   <->   wrong value
  (0,1)   <->   [0,1]   <->   wrong form
  (0,1]   <->   (0,1)   <->   wrong form
  \begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}   <->   \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}   <->   wrong count
  10 \text{ hours}   <->   10 \text{ min}   <->   wrong unit
  \frac{-3 + \sqrt{5}}{2}   <->   \frac{-3 \pm \sqrt{5}}{2}   <->   wrong count
  even   <->   odd   <->   wrong value
  1:2:4   <->   2:4:6   <->   wrong value
  5 \text{ million}   <->   5   <->   wrong value
  5 \text{ thousand}   <->   5 \text{ million}   <->   wrong value
  58   <->   3A_{16}   <->   wrong value
  \text{(B) } 5   <->   5   <->   wrong form
  \constructor   <->   5   <->   unreadable answer
  1, 2   <->   1, 1   <->   wrong value
  5 \text{ cubic feet}   <->   5 \text{ ft}^2   <->   wrong unit
  19_8   <->   17   <->   unreadable answer
  |x-3|   <->   x-3   <->   wrong value
  |x-1|   <->   x-1   <->   wrong value
  |x-y|   <->   x-y   <->   wrong value
  |a-b|   <->   b-a   <->   wrong value
  a^b   <->   b^a   <->   wrong value
  \sqrt{(x-2)^2}   <->   x-2   <->   wrong value
`);

describe("grade", () => {
  test.each(EQUAL as unknown as Pair[])("%s is %s", (answer, reference) => {
    expect(gradeMaths(answer, reference)).toEqual({ correct: true, reason: null });
  });

  test.each(UNEQUAL)("%s is not %s: %s", (answer, reference, reason) => {
    expect(gradeMaths(answer!, reference!)).toEqual({ correct: false, reason });
  });

  test.each([null, "", "  \n"])("%j is no answer", (answer) => {
    expect(gradeMaths(answer, "5")).toEqual({ correct: false, reason: "no answer" });
  });

  test.each([
    "9^9^9",
    "1/0",
    "1 +",
    String.raw`\frac{1}{`,
    String.raw`\unknown{5}`,
    "9!!!",
    "1e999999999",
    "9".repeat(400),
    "1+".repeat(300),
    "(".repeat(200),
    "{".repeat(200),
    `${"(".repeat(200)}1${")".repeat(200)}`,
    String.raw`\pm\pm\pm\pm\pm 1`,
    "\ud83d\u0000",
  ])("%s is unreadable", (answer) => {
    expect(gradeMaths(answer, "5")).toEqual({ correct: false, reason: "unreadable answer" });
  });

  test("a value too large to compute equals itself as text", () => {
    expect(gradeMaths("9^ {9^9}", "9^{9^9}").correct).toBe(true);
    expect(gradeMaths("2^{2007}", "2^{2008}").correct).toBe(false);
  });

  test("rounding forgives what computing loses, and no more", () => {
    expect(gradeMaths(String.raw`\sqrt{2}\sqrt{3}-\sqrt{6}`, "0").correct).toBe(true);
    expect(gradeMaths(String.raw`10^{-20}\pi`, String.raw`2\cdot10^{-20}\pi`).correct).toBe(false);
    expect(gradeMaths(String.raw`10^{13}+\sqrt2`, String.raw`10^{13}+\sqrt3`).correct).toBe(true); // below 1e-13 of 10^13: the stated limit
    expect(gradeMaths(String.raw`10^{6}+\sqrt2`, String.raw`10^{6}+\sqrt3`).correct).toBe(false);
  });

  test.each(["", "  ", "1".repeat(513)])("a reference that nothing could equal is refused: %#", (reference) => {
    expect(() => checkMathsReference(reference)).toThrow(/\[maths\] expected a reference of 1 to 512 characters, got/);
    expect(() => gradeMaths("5", reference)).toThrow(expect.objectContaining({ code: "MATHS_REFERENCE" }));
  });
});

describe("extract", () => {
  test.each([
    [String.raw`first \boxed{4}, then \boxed{\frac{1}{2}}.`, String.raw`\frac{1}{2}`],
    [String.raw`\boxed{\{1, \}2\}}`, String.raw`\{1, \}2\}`],
    [String.raw`a stray { and \boxed {5}`, "5"],
    [String.raw`\fbox{7}`, "7"],
    [String.raw`$\boxed 72$ apples`, "72"],
    [String.raw`\boxed{\boxed{5}}`, "5"],
    [String.raw`\boxed{5} and then cut off \boxed{\frac{1}{`, "5"],
    [String.raw`\boxed{} 12`, null],
    [String.raw`\boxedfigure 3`, "3"],
    ["so 6 * 12 = 72\n#### 1,072", "1,072"],
    ["#### 3\n#### 4\nDone.", "4"],
    ["The answer is 3. No: the answer is **-4**. Right?", "-4**"],
    ["Answer: x = 5\nas 2 + 3 = 5 and 9 is too much", "x = 5"],
    ["**Final answer:** $12$", "$12$"],
    ["The answer is\n\nof 1,200 or so, 10-5", "5"],
    ["it fell to -4.", "-4"],
    ["a share of 3/4, or 75%", "75%"],
    ["about .75, I think", "0.75"],
    ["no number at all", null],
    ["", null],
  ])("%j", (text, answer) => {
    expect(extractMathsAnswer(text)).toBe(answer);
  });

  test.each([
    ["The answer is 18 eggs per day.", "18"],
    ["The answer is 18 miles per hour.", "18"],
    ["The answer is 5 apples in total", "5"],
    ["So the answer is $18 per day", "18"],
    ["The answer is 5 because 3 + 2 = 5.", "5"],
    ["So the answer is 5, since 2+3 is 5", "5"],
    ["The answer is 42, as required.", "42"],
    ["The final answer is 12 eggs, which she sells", "12"],
    ["The answer is about 3.", "3"],
    ["The answer is approximately 3.14", "3.14"],
    ["So the answer is therefore -7.", "-7"],
    ["The answer is: Janet makes $18 every day.", "18"],
    ["The answer is x = 7 where x is the cost", "7"],
    [String.raw`The answer is $\frac{1}{2}$ because of symmetry in 2 axes.`, "1/2"],
    ["The answer is 1/2 of the cake", "0.5"],
    ["#### 18 dollars a day", "18"],
    ["Answer: 42!", "42"],
    ["**Answer:** 42!**", "42"],
    ["The answer is $5!$", "120"],
    ["#### 5!", "120"],
    ["50 percent", "0.5"],
    ["The answer is 50 percent", "0.5"],
    [String.raw`a share of 25\%`, "1/4"],
    ["The answer is 3 or 4.", "3, 4"],
    ["The answer is (1, 2).", "(1,2)"],
    ["The answer is 3, 4 and 5.", "3, 4, 5"],
    ["The answer is 4:30 p.m.", String.raw`4:30 \text{ p.m.}`],
    ["The answer is Evelyn.", String.raw`\text{Evelyn}`],
    ["The answer is x = 3, ab = 12", "x = 3, ab = 12"],
  ])("words around what a phrase leads to: %j is %s", (text, reference) => {
    expect(gradeMaths(extractMathsAnswer(text), reference)).toEqual({ correct: true, reason: null });
  });

  test.each([
    ["The answer is 5 because 3 + 2 = 5.", "3"],
    ["The answer is 5 because 3 + 2 = 5.", "2"],
    ["The answer is 18 eggs per day, of 20.", "20"],
    ["The answer is either 3 or 4.", "4"],
    ["The answer is between 3 and 4.", "3"],
    ["The answer is 3 or 4 apples.", "4"],
    ["The answer is 5, not 6", "6"],
    ["The answer is: Janet makes $18 of $20 every day.", "18"],
    ["The answer is not clear. We get 9.", "9"],
    ["Answer: 42!", "41"],
    ["The answer is about 3.", "3.14"],
    ["The answer is (1, 2).", "2"],
    ["50 percent", "5000"],
  ])("what stays wrong: %j is not %s", (text, reference) => {
    expect(gradeMaths(extractMathsAnswer(text), reference).correct).toBe(false);
  });

  test("markup around an answer does not count", () => {
    expect(gradeMaths(extractMathsAnswer("The answer is **-4**."), "-4").correct).toBe(true);
  });

  test("a GSM8K solution", () => {
    expect(gsm8kReference("48/2 = <<48/2=24>>24\n#### 1,072")).toBe("1,072");
    expect(() => gsm8kReference("72")).toThrow(expect.objectContaining({ code: "GSM8K_SOLUTION" }));
  });
});
