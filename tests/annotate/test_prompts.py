"""Prompts: those of the package, a user's own, and every way to write one wrongly."""

import pytest

from sensei.annotate.annotator import AnnotatorConfig, resolve
from sensei.annotate.prompts import KINDS, find_prompt, load_prompt, prompt_names
from sensei.data.records import CHOICES
from sensei.types import UsageError

OWN = ("keyroom", "keychest", "robodesk", "pokemon", "keyquest", "crafter")


@pytest.fixture
def own(tmp_path):
    """Return a function that writes a prompt and loads it."""

    def write(text: str, goal: str = ""):
        path = tmp_path / "mine.md"
        path.write_text(text)
        return load_prompt(str(path), goal)

    return write


def packaged(name):
    goal = "the door is open" if name == "goal" else ""
    return load_prompt(name, goal)


def test_the_package_brings_one_of_each():
    prompts = {name: packaged(name) for name in prompt_names()}
    assert len({prompt.hash for prompt in prompts.values()}) == len(prompts)
    for name, prompt in prompts.items():
        assert prompt.name == name and prompt.version >= 1
        assert "---" not in prompt.body and "{goal}" not in prompt.body
        assert all(f'"{option}"' in prompt.each for option in prompt.options)
    for environment in OWN:
        assert prompts[environment].environment == environment
        assert prompts[environment].kind == "specific"
    generic = {prompts[find_prompt(kind, "gym:Other")].kind for kind in KINDS}
    assert generic == set(KINDS)


@pytest.mark.parametrize(
    ("wanted", "environment", "goal", "found"),
    [
        ("auto", "keychest", "", "keychest"),
        ("auto", "gym:Other", "", "generic"),
        ("auto", "keychest", "a door is open", "goal"),
        ("specific", "crafter", "", "crafter"),
        ("general", "keychest", "", "general"),
        ("goal", "pokemon", "", "pokemon-goal"),
        ("keyroom", "keychest", "", "keyroom"),
        ("my/own.md", "keychest", "", "my/own.md"),
    ],
)
def test_a_kind_or_a_name(wanted, environment, goal, found):
    assert find_prompt(wanted, environment, goal) == found
    config = AnnotatorConfig(kind="vlm", prompt=wanted, goal=goal)
    assert resolve(config, True, environment, {}).prompt == found


def test_a_goal_is_told_and_is_part_of_the_hash():
    one, other = (load_prompt("goal", goal) for goal in ("the drawer is open", "a light is on"))
    assert "the drawer is open" in one.told() and one.hash != other.hash
    assert one.question == "Which image is closer to the goal?"
    assert "first gym" in load_prompt("pokemon-goal").told()
    assert "first gym" not in load_prompt("pokemon-goal", "catch them all").told()
    for empty in ("", "  "):
        with pytest.raises(UsageError, match=r"annotator\.goal is empty.*--annotator\.goal '"):
            load_prompt("goal", empty)
    with pytest.raises(UsageError, match=r"or --annotator\.goal ''"):
        load_prompt("keychest", "the chest is open")


def test_a_general_prompt_is_told_what_the_model_said_once():
    prompt = load_prompt("general")
    assert "150 words" in prompt.once and "150 words" not in prompt.told("x")
    assert "A kitchen with a fridge." in prompt.told("A kitchen with a fridge.\n")
    assert prompt.once in prompt.body and "{description}" in prompt.body


def test_a_prompt_of_the_user(own):
    bare = own("Look at the doors.")
    assert (bare.name, bare.version, bare.kind) == ("mine", 1, "specific")
    assert (bare.options, bare.images, bare.text) == (CHOICES, 1, True)
    full = own(
        "---\nname: doors\nversion: 4\nenvironment: house\nkind: specific\nabout: doors only\n"
        "images: 1\ntext: false\noptions: [first, second]\nquestion: Where is a door open?\n---\n\n"
        "Look at the doors.\n"
    )
    assert (full.name, full.version, full.environment) == ("doors", 4, "house")
    assert (full.options, full.text) == (("first", "second"), False)
    assert full.each == bare.each and full.hash != bare.hash  # it is another question
    assert own("---\nabout: no matter\nversion: 9\n---\nLook at the doors.").hash == bare.hash


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no text"),
        ("---\nname: x\n---\n", "no text"),
        ("---\nname: x\nLook.", "no end"),
        ("---\nversion: four\n---\nx", "version is 'four'; give a whole number"),
        ("---\nversion: true\n---\nx", "version is True"),
        ("---\noption: [first]\n---\nx", "no field 'option': did you mean options"),
        ("---\n- a\n---\nx", "no fields"),
        ("---\na: [\n---\nx", "no YAML"),
        ("---\nkind: special\n---\nx", "kind is 'special'; give one of specific, general, goal"),
        ("---\noptions: [second, first]\n---\nx", "in this order"),
        ("---\noptions: [first, tie]\n---\nx", "first and second must be"),
        ("---\noptions: [first, second, both]\n---\nx", "in this order"),
        ("---\nimages: 3\n---\nx", "images is 3"),
        ("---\nimages: 0\ntext: false\n---\nx", "nothing to compare"),
        ("---\nkind: goal\n---\nx", "{goal} must stand in the text"),
        ("---\ngoal: g\n---\nx", "write kind: goal"),
        ("Which is closer to {goal}?", "{goal} may not stand"),
        ("---\nkind: general\n---\n{description}", "two parts"),
        ("---\nkind: general\n---\n# Once\nx\n# Each pair\nx", "{description} must stand"),
    ],
)
def test_what_is_wrong_is_named(own, text, words):
    with pytest.raises(UsageError) as error:
        own(text)
    assert words in str(error.value) and "mine.md" in str(error.value)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UsageError, match=r"generic, goal, keychest.*specific, general, goal"):
        load_prompt("keychst")


def test_strips_are_told_in_every_turn_that_shows_pictures():
    one, strips = load_prompt("general"), load_prompt("general", strip=4)
    assert "up to 4 steps later" in strips.once and "up to 4 steps later" in strips.each
    assert len({one.hash, strips.hash, load_prompt("general", strip=5).hash}) == 3
    assert load_prompt("keychest", strip=4).once == ""
    assert load_prompt("story", strip=4) == load_prompt("story")  # it sends no picture
