"""Countdown with 3 numbers for the PyTorch trial: problems, split, demonstrations and grader, on token ids.

Numbers 0..99 are their own ids; the symbols follow. A prompt has 7 tokens, so all prompts of a batch line up.
"""

import random
from itertools import combinations_with_replacement

SYMBOLS = "<pad> <bos> <eos> <q> -> <think> </think> <answer> </answer> + - * / = ; ( ) x ok , ?".split()
VOCABULARY = 100 + len(SYMBOLS)
ID = {symbol: 100 + i for i, symbol in enumerate(SYMBOLS)}
PAD, END = ID["<pad>"], ID["</answer>"]
PLUS, MINUS, TIMES = ID["+"], ID["-"], ID["*"]
PROMPT_TOKENS = 7

PAIRS = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
OPERATIONS = (PLUS, MINUS, TIMES)
LARGEST = 99
TRAIN_MULTISETS = 653
GIVE_UP_WEIGHTS = (0.55, 0.18, 0.10, 0.06, 0.04, 0.03, 0.02, 0.01, 0.01)
START_AT_SOLUTION = 0.15
CLOSEST_SECOND_STEP = 0.85


def combine(a, b, operation):
    """The larger op the smaller, as (tokens' larger, smaller, result), or None outside 1..99."""
    a, b = max(a, b), min(a, b)
    result = a + b if operation == PLUS else a - b if operation == MINUS else a * b
    return (a, b, result) if 1 <= result <= LARGEST else None


def steps(numbers):
    """First steps of a problem in canonical order, each with its second steps."""
    found = []
    for i, j, k in PAIRS:
        for operation in OPERATIONS:
            first = combine(numbers[i], numbers[j], operation)
            if first is not None:
                a, b, result = first
                found.append(((a, operation, b, result), second_steps((a, operation, b), result, numbers[k])))
    return found


def second_steps(first, result, rest):
    """(value, attempt tokens without the verdict, answer tokens) of each second step."""
    a, operation, b = first
    inner = [ID["("], a, operation, b, ID[")"]]
    found = []
    for second in OPERATIONS:
        step = combine(result, rest, second)
        if step is not None:
            x, y, value = step
            attempt = [a, operation, b, ID["="], result, ID[";"], x, second, y, ID["="], value]
            answer = inner + [second, rest] if x == result else [rest, second] + inner
            found.append((value, attempt, answer))
    return found


class Problem:
    """One (numbers, target) with its search tree, made once."""

    def __init__(self, numbers, target, tree):
        self.numbers, self.target = numbers, target
        self.prompt = [ID["<q>"], *numbers, ID["->"], target, ID["<think>"]]
        self.branches = [seconds for _, seconds in tree]
        self.closest = [min(seconds, key=lambda s: abs(s[0] - target)) for seconds in self.branches]
        self.solutions = [i for i, best in enumerate(self.closest) if best[0] == target]


def make_problems(seed):
    """Train and held-out problems, grouped by multiset; the two share no multiset."""
    multisets = [tuple(reversed(m)) for m in combinations_with_replacement(range(1, 17), 3)]
    random.Random(seed).shuffle(multisets)
    grouped = []
    for numbers in multisets:
        tree = steps(numbers)
        targets = sorted({value for _, seconds in tree for value, _, _ in seconds})
        grouped.append([Problem(numbers, target, tree) for target in targets])
    held_out = [problem for group in grouped[TRAIN_MULTISETS:] for problem in group]
    return grouped[:TRAIN_MULTISETS], held_out


def draw(grouped, rng):
    """A multiset uniformly, then one of its targets uniformly."""
    group = grouped[int(rng.random() * len(grouped))]
    return group[int(rng.random() * len(group))]


def demonstrate(problem, rng):
    """Prompt and completion tokens of one demonstration: tries first steps in a cycle, and gives up at a random point."""
    random_number, count = rng.random, len(problem.branches)
    give_up = rng.choices(range(1, 10), GIVE_UP_WEIGHTS)[0]
    at_solution = random_number() < START_AT_SOLUTION
    start = problem.solutions[int(random_number() * len(problem.solutions))] if at_solution else int(random_number() * count)
    tokens = list(problem.prompt)
    for turn in range(give_up):
        branch = (start + turn) % count
        seconds = problem.branches[branch]
        closest = random_number() < CLOSEST_SECOND_STEP
        value, attempt, answer = problem.closest[branch] if closest else seconds[int(random_number() * len(seconds))]
        tokens += attempt
        tokens.append(ID["ok"] if value == problem.target else ID["x"])
        if value == problem.target:
            break
    return tokens + [ID["</think>"], ID["<answer>"], *answer, END]


def evaluate(tokens):
    """(value, numbers used) of an expression with + - * and parentheses; raises ValueError on anything else."""
    position, used = 0, []

    def peek():
        return tokens[position] if position < len(tokens) else None

    def atom():
        nonlocal position
        token = peek()
        position += 1
        if token is not None and token < 100:
            used.append(token)
            return token
        if token != ID["("]:
            raise ValueError("expected a number or (")
        value = total()
        if peek() != ID[")"]:
            raise ValueError("expected )")
        position += 1
        return value

    def product():
        nonlocal position
        value = atom()
        while peek() == TIMES:
            position += 1
            value *= atom()
        return value

    def total():
        nonlocal position
        value = product()
        while peek() in (PLUS, MINUS):
            sign = 1 if peek() == PLUS else -1
            position += 1
            value += sign * product()
        return value

    value = total()
    if position != len(tokens):
        raise ValueError("expected the end")
    return value, used


def grade(problem, completion):
    """1.0 if the completion ends in an answer that uses each number once and gives the target, else 0.0."""
    if not completion or completion[-1] != END or ID["<answer>"] not in completion:
        return 0.0
    start = completion.index(ID["<answer>"])
    if start == 0 or completion[start - 1] != ID["</think>"]:
        return 0.0
    try:
        value, used = evaluate(completion[start + 1 : -1])
    except ValueError:
        return 0.0
    return float(value == problem.target and sorted(used, reverse=True) == list(problem.numbers))
