"""A policy file is edited as a person would: one rule in or out, everything else as it stood."""

from __future__ import annotations

import concurrent.futures
import json
import stat
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.errors import PolicyError
from host_bridge.policy.editing import add_rule, edited, remove_rules
from host_bridge.policy.loading import check
from host_bridge.policy.rules import Clause

FILE = """\
# Who may do what on this machine.
version = 1

[rules]
# everyday things
allow = [
    "terminal(git status *)",  # harmless
    # the build
    "terminal(make test)"
]
deny  = [ "read_file(./private/**)" ]   # not even for a look

[[tests]]
call = "read_file(private/x)"
expect = "deny"
"""


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "policy.toml"
    file.write_text(FILE)
    file.chmod(0o640)
    return file


def test_a_rule_is_added_where_a_person_would_put_it(file):
    add_rule(file, Clause.ALLOW, "terminal(git push *)")
    assert file.read_text() == FILE.replace(
        '"terminal(make test)"\n', '"terminal(make test)",\n    "terminal(git push *)",\n'
    )


def test_a_list_on_one_line_stays_on_one_line(file):
    add_rule(file, Clause.DENY, "web_search")
    assert 'deny  = [ "read_file(./private/**)", "web_search" ]   # not even for a look' in file.read_text()


def test_a_list_that_is_not_there_yet_is_made(file):
    add_rule(file, Clause.ASK, "web_search")
    assert tomllib.loads(file.read_text())["rules"]["ask"] == ["web_search"]
    assert "# harmless" in file.read_text()


def test_what_was_added_can_be_taken_out_again(file):
    add_rule(file, Clause.DENY, "web_search")
    remove_rules(file, Clause.DENY, ["web_search"])
    assert file.read_text().replace('", ]', '" ]') == FILE  # a last comma says nothing


def test_an_agents_rule_goes_into_its_own_section(file):
    add_rule(file, Clause.ALLOW, "web_search", principal="nightly.bot")
    assert file.read_text() == FILE + '\n[agents."nightly.bot".rules]\nallow = ["web_search"]\n'
    add_rule(file, Clause.ALLOW, "mine", principal="nightly.bot")
    assert check(str(file)).principals == ("nightly.bot",)
    remove_rules(file, Clause.ALLOW, ["web_search"], principal="nightly.bot")
    assert [rule.text for rule in check(str(file)).rules if rule.principal] == ["mine"]


def test_a_rule_that_holds_after_untrusted_content_says_so(file):
    add_rule(file, Clause.ALLOW, "terminal(make test)", after_untrusted=True)
    assert '{ rule = "terminal(make test)", allow_after_untrusted = true }' in file.read_text()
    assert file.read_text().count("make test") == 1
    before = file.read_text()
    assert not add_rule(file, Clause.ALLOW, "terminal(make test)").changed  # it says more already
    assert file.read_text() == before


def test_allowing_what_was_denied_moves_the_rule(file):
    edit = add_rule(file, Clause.ALLOW, "web_search")
    edit = add_rule(file, Clause.DENY, "web_search")
    assert edit.moved_from == (Clause.ALLOW,)
    assert file.read_text().count("web_search") == 1


def test_a_rule_is_taken_out_of_an_entry_of_several(file):
    text = 'version = 1\n[rules]\nallow = [{ rule = ["mine", "yours"], allow_after_untrusted = true }]\n'
    assert edited(text, Clause.ALLOW, (), removed=("mine",)).text == text.replace('"mine", ', "")
    assert edited(text, Clause.ALLOW, (), removed=("theirs",)).changed is False


def test_the_files_mode_is_kept_and_a_new_one_is_private(file, tmp_path):
    add_rule(file, Clause.ALLOW, "web_search")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    new = tmp_path / "folder" / "policy.toml"
    add_rule(new, Clause.ALLOW, "web_search")
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    assert stat.S_IMODE(new.parent.stat().st_mode) == 0o700
    assert new.read_text() == 'version = 1\n\n[rules]\nallow = ["web_search"]\n'
    assert list(new.parent.iterdir()) == [new]


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ("terminal(bash *)", "bash"),
        ("x y", "no rule"),
        ("*", "every tool"),
        ("read_file(./a\u202eb)", "invisible"),
        ("raed_file", "did you mean read_file"),
    ],
)
def test_what_would_not_load_is_not_written(file, rule, hint):
    with pytest.raises(PolicyError, match=hint):
        add_rule(file, Clause.ALLOW, rule, known_tools=["read_file"])
    assert file.read_text() == FILE
    assert list(file.parent.iterdir()) == [file]


def test_a_rule_against_the_files_own_tests_is_not_written(file):
    with pytest.raises(PolicyError, match="should be 'deny'"):
        remove_rules(file, Clause.DENY, ["read_file(./private/**)"])
    assert file.read_text() == FILE


@pytest.mark.parametrize("text", ["version = 1\n[rules\n", "version = 2\n", "version = 1\nfoo = 1\n", "", "\x00"])
def test_a_file_that_does_not_load_is_left_alone(file, text):
    file.write_text(text)
    with pytest.raises(PolicyError, match=r"policy\.toml"):
        add_rule(file, Clause.ALLOW, "web_search")
    assert file.read_text() == text


def test_a_link_and_a_file_that_anybody_may_write_are_not_edited(file):
    link = file.with_name("link.toml")
    link.symlink_to(file)
    with pytest.raises(PolicyError, match="symbolic link"):
        add_rule(link, Clause.ALLOW, "web_search")
    file.chmod(0o666)
    with pytest.raises(PolicyError, match="chmod"):
        add_rule(file, Clause.ALLOW, "web_search")
    assert file.read_text() == FILE
    assert link.is_symlink()


def test_removing_what_is_not_there_is_said(file, tmp_path):
    with pytest.raises(PolicyError, match="no rule 'mine'") as caught:
        remove_rules(file, Clause.ALLOW, ["mine"])
    assert caught.value.key == "rules.allow"
    with pytest.raises(PolicyError, match="no rule"):
        remove_rules(file, Clause.ALLOW, ["mine"], principal="nobody")
    with pytest.raises(PolicyError, match="no such"):
        remove_rules(tmp_path / "missing.toml", Clause.ALLOW, ["mine"])
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_can_not_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PolicyError, match="folder"):
        add_rule(tmp_path / "file" / "policy.toml", Clause.ALLOW, "mine")


def test_answers_given_at_the_same_time_all_stay(file):
    rules = [f"tool{number}" for number in range(24)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda rule: add_rule(file, Clause.ALLOW, rule), rules))
    assert {rule.text for rule in check(str(file)).rules} >= set(rules)


@pytest.mark.parametrize(
    "text",
    [
        "version = 1\n",
        "version = 1\nrules.allow = ['a']\n",
        "version = 1\nrules = { allow = ['a'] }\n",
        "version = 1\r\n[rules]\r\nallow = [\r\n  'a',\r\n]\r\n",
        "version = 1\n[agents.x.rules]\nallow = ['a']\n[rules]\nask = []\n[agents.z.rules]\n",
        "version = 1\n[agents.bot]\n[rules]\n",
        'version = 1\n[rules]\nallow = [\n  "a",\n  # "b",\n  # the end\n]\n',
        'version = 1\n[rules]\nallow = ["a", # one\n         "b"]\n',
        "version = 1\n[rules]\nallow = [" + ", ".join(f'"tool{number}"' for number in range(30)) + "]\n",
        "version = 1\n[taint]\nbrake = true",
    ],
)
@pytest.mark.parametrize("principal", ["", "bot", "a.b'\"\\"])
def test_every_layout_is_understood(text, principal):
    edit = edited(text, Clause.ALLOW, ("terminal(git push *)",), principal=principal)
    before, after = tomllib.loads(text), tomllib.loads(edit.text)
    table = after["agents"][principal]["rules"] if principal else after["rules"]
    assert table["allow"][-1] == "terminal(git push *)"
    assert edited(edit.text, Clause.ALLOW, (), removed=("terminal(git push *)",), principal=principal).changed
    table["allow"].pop()
    for comment in ("# one", "# the end", '# "b"'):
        assert (comment in edit.text) == (comment in text)
    assert ("\r\n" in edit.text) == ("\r\n" in text)
    assert before["version"] == after["version"]
    assert before.get("taint") == after.get("taint")


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from(["a", "b", 'c("x")', "d('y')", "e(\\z)"]), max_size=4, unique=True),
    st.sampled_from(list(Clause)),
    st.sampled_from(["a", 'c("x")', "e(\\z)", "new(é)", "terminal(echo '\"')"]),
    st.sampled_from(["[{}]", "[\n  {},\n]", "[ {} ] # why"]),
    st.booleans(),
)
def test_an_edit_changes_what_it_should_and_nothing_else(rules, clause, rule, layout, after_untrusted):
    listed = ", ".join(json.dumps(one) for one in rules)
    text = f"version = 1\n[rules]\n{clause.value} = {layout.format(listed) if rules else '[]'}\n"
    edit = edited(text, clause, (rule,), after_untrusted=after_untrusted)
    table = tomllib.loads(edit.text)["rules"]
    others = [one for one in rules if one != rule]
    found = table[clause.value]
    assert [entry for entry in found if entry in others] == others
    assert len(found) == len(others) + 1
    assert not edited(edit.text, clause, (rule,), after_untrusted=after_untrusted).changed
    assert edited(edit.text, clause, (), removed=(rule,)).changed
