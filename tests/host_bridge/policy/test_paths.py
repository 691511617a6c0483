"""What a path may name, and that nothing can be swapped between the name and the act."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hermes_protocol.errors import ErrorCode
from host_bridge.errors import CallError, DeniedError, InvalidCallError, NotFoundError
from host_bridge.policy import openat2, paths, walking
from host_bridge.policy import resolved as resolved_module
from host_bridge.policy.model import Access, PathResource
from host_bridge.policy.paths import ResolvedPath, is_local, resolve

SECRET = b"outside"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with a file outside beside it."""
    (tmp_path / "secret.txt").write_bytes(SECRET)
    workspace = tmp_path / "ws"
    (workspace / "src" / "lib").mkdir(parents=True)
    (workspace / "a.txt").write_bytes(b"a")
    (workspace / "src" / "lib" / "b.txt").write_bytes(b"b")
    return workspace


@pytest.fixture(params=["straight", "walking", "portable"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way a path can be resolved: by openat2, by the walk where that is missing, and without O_PATH as well."""
    if request.param != "straight":
        monkeypatch.setattr(paths, "is_available", lambda: False)
    if request.param == "portable":
        monkeypatch.setattr(walking, "O_PATH", 0)
        monkeypatch.setattr(paths, "O_PATH", 0)
        monkeypatch.setattr(paths, "REOPENS", False)
        monkeypatch.setattr(resolved_module, "O_PATH", 0)
        monkeypatch.setattr(resolved_module, "REOPENS", False)
    return str(request.param)


def content(resolved: ResolvedPath) -> bytes:
    with resolved:
        descriptor = resolved.open(os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestRelative:
    @pytest.mark.parametrize("path", ["src/lib/b.txt", "./src//lib/./b.txt", "src/../src/lib/b.txt"])
    def test_spellings_of_one_file_have_one_name(self, workspace: Path, way: str, path: str) -> None:
        with resolve(str(workspace), path) as resolved:
            assert resolved.resource(Access.READ) == PathResource(
                str(workspace / "src/lib/b.txt"), "src/lib/b.txt", Access.READ
            )
            assert resolved.name == "b.txt"
        assert content(resolve(str(workspace), path)) == b"b"

    @pytest.mark.parametrize("path", [".", "./", "src/..", "src/lib/../../."])
    def test_the_workspace_itself_is_the_empty_relative_name(self, workspace: Path, way: str, path: str) -> None:
        with resolve(str(workspace), path) as resolved:
            assert (resolved.path, resolved.relative, resolved.name) == (str(workspace), "", "")

    @pytest.mark.parametrize(
        "path",
        [
            "..",
            "../secret.txt",
            "src/../../secret.txt",
            "src/lib/../../../ws/a.txt",
            "missing/../../secret.txt",
            "a.txt/../..",
        ],
    )
    def test_going_above_the_workspace_is_denied_even_where_the_way_leads_back(
        self, workspace: Path, way: str, path: str
    ) -> None:
        with pytest.raises(DeniedError, match="leads out of the workspace") as caught:
            resolve(str(workspace), path)
        assert str(workspace) not in str(caught.value)

    @pytest.mark.parametrize("target", ["../secret.txt", "/etc/passwd", "../missing"])
    def test_a_link_out_of_the_workspace_is_denied(self, workspace: Path, way: str, target: str) -> None:
        (workspace / "link").symlink_to(target)
        with pytest.raises(DeniedError, match="leads out of the workspace"):
            resolve(str(workspace), "link")

    def test_a_folder_link_out_of_the_workspace_is_denied_for_what_is_in_it(self, workspace: Path, way: str) -> None:
        (workspace / "up").symlink_to("..")
        with pytest.raises(DeniedError, match="leads out of the workspace"):
            resolve(str(workspace), "up/secret.txt")

    def test_a_link_within_the_workspace_is_named_by_what_it_points_to(self, workspace: Path, way: str) -> None:
        (workspace / "src" / "link").symlink_to("lib/../../src/lib")
        with resolve(str(workspace), "src/link/b.txt") as resolved:
            assert resolved.relative == "src/lib/b.txt"
        assert content(resolve(str(workspace), "src/link/b.txt")) == b"b"

    def test_an_absolute_path_beneath_the_workspace_is_as_good_as_a_relative_one(
        self, workspace: Path, way: str
    ) -> None:
        with resolve(str(workspace), f"{workspace}/src//lib/b.txt") as resolved:
            assert resolved.relative == "src/lib/b.txt"
        with pytest.raises(DeniedError, match="leads out of the workspace"):
            resolve(str(workspace), f"{workspace}/../secret.txt")

    def test_a_neighbour_whose_name_begins_like_the_workspace_is_outside(self, workspace: Path, way: str) -> None:
        neighbour = workspace.with_name("ws2")
        neighbour.mkdir()
        with resolve(str(workspace), str(neighbour)) as resolved:
            assert resolved.relative is None

    def test_a_chain_of_links_is_followed_as_far_as_linux_does(self, workspace: Path, way: str) -> None:
        (workspace / "0").symlink_to("a.txt")
        for number in range(1, 60):
            (workspace / str(number)).symlink_to(str(number - 1))
        assert content(resolve(str(workspace), "39")) == b"a"
        for number in ("40", "50"):
            with pytest.raises(DeniedError, match="too many links"):
                resolve(str(workspace), number)

    def test_a_link_to_itself_is_denied(self, workspace: Path, way: str) -> None:
        (workspace / "loop").symlink_to("loop")
        with pytest.raises(DeniedError, match="too many links"):
            resolve(str(workspace), "loop")

    @pytest.mark.parametrize("path", ["missing", "src/missing", "missing/../a.txt", "a.txt/", "a.txt/x", "a.txt/."])
    def test_what_does_not_exist_is_not_found(self, workspace: Path, way: str, path: str) -> None:
        with pytest.raises(NotFoundError) as caught:
            resolve(str(workspace), path)
        assert caught.value.code is ErrorCode.NOT_FOUND
        assert str(workspace) not in str(caught.value)

    def test_nothing_stays_open_after_an_error(self, workspace: Path, way: str) -> None:
        (workspace / "loop").symlink_to("loop")
        resolve(str(workspace), "a.txt").close()
        before = descriptors()
        for path in ("missing", "..", "loop", "src/lib/missing/x", "/missing/../x", "/proc/self/root/x"):
            with pytest.raises(CallError):
                resolve(str(workspace), path)
        for path in ("a.txt", ".", "/etc/passwd", "src/lib/b.txt", "src/lib/.."):
            resolve(str(workspace), path).close()
            resolve(str(workspace), path, must_exist=False).close()
        assert descriptors() == before


class TestText:
    @pytest.mark.parametrize(
        "path",
        [
            "",
            "a\0.txt",
            "a\n.txt",
            "a\r",
            "\x1b[31m",
            "a\x85",
            "a\u202etxt.b",
            "a\u2066b",
            "a\u200b.txt",
            "\ufeffa.txt",
            "a\u00ad.txt",
            "a\u2028b",
            "a\udcff",
            "\ud800",
            "a\U000e0041",
            "x" * 5000,
            "ä" * 2049,
            "x/" * 2049,
        ],
    )
    def test_what_nobody_can_see_or_mean_is_refused_without_naming_the_host(self, workspace: Path, path: str) -> None:
        for must_exist in (True, False):
            with pytest.raises(InvalidCallError) as caught:
                resolve(str(workspace), path, must_exist=must_exist)
            assert str(workspace) not in str(caught.value)
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 600

    @pytest.mark.parametrize("name", ["größe.txt", "日本語", "a b", "emoji 🎉", "❤\ufe0f", "-rf", "--help", "a\u00a0b"])
    def test_what_people_call_their_files_is_taken_as_it_is(self, workspace: Path, name: str) -> None:
        (workspace / name).write_bytes(b"x")
        with resolve(str(workspace), name) as resolved:
            assert resolved.relative == name

    @pytest.mark.parametrize("path", ["~", "~/.ssh/id_rsa", "~root/.ssh/id_rsa"])
    def test_a_tilde_is_refused_rather_than_taken_for_a_folder(self, workspace: Path, path: str) -> None:
        for must_exist in (True, False):
            with pytest.raises(DeniedError, match="not expanded"):
                resolve(str(workspace), path, must_exist=must_exist)

    def test_names_that_merely_begin_with_a_tilde_are_names(self, workspace: Path) -> None:
        (workspace / "~$draft.docx").write_bytes(b"x")
        resolve(str(workspace), "~$draft.docx").close()
        resolve(str(workspace), "./~", must_exist=False).close()

    @pytest.mark.parametrize("target", ["a\u202eb", os.fsdecode(b"\xff")])
    def test_a_link_does_not_lead_to_a_name_that_could_not_be_asked_for(self, workspace: Path, target: str) -> None:
        (workspace / target).write_bytes(b"x")
        (workspace / "link").symlink_to(target)
        with pytest.raises(InvalidCallError, match="can't be seen"):
            resolve(str(workspace), "link")

    @given(path=st.text(max_size=60))
    @settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_no_text_makes_anything_but_a_call_error(self, workspace: Path, path: str) -> None:
        with contextlib.suppress(CallError), resolve(str(workspace), path, must_exist=False) as resolved:
            assert resolved.path.startswith("/")


class TestOutside:
    def test_an_absolute_path_is_named_by_where_it_leads(self, workspace: Path, way: str) -> None:
        link = workspace.parent / "link"
        link.symlink_to("secret.txt")
        with resolve(str(workspace), str(link)) as resolved:
            assert resolved.resource(Access.READ).path == str(workspace.parent / "secret.txt")
            assert resolved.relative is None

    def test_a_way_into_the_workspace_gets_its_relative_name(self, workspace: Path, way: str) -> None:
        (workspace.parent / "door").symlink_to("ws/src")
        with resolve(str(workspace), f"{workspace.parent}/door/lib/b.txt") as resolved:
            assert resolved.relative == "src/lib/b.txt"

    def test_nothing_is_said_about_what_exists_until_it_is_allowed(self, workspace: Path, way: str) -> None:
        outside = workspace.parent
        (outside / "loop").symlink_to("loop")
        (outside / "file").write_bytes(b"")
        for path in ("missing", "missing/deep/x", "file/x", "loop", "secret.txt"):
            with resolve(str(workspace), f"{outside}/{path}") as resolved:
                assert resolved.path == f"{outside}/{path}"
                assert resolved.relative is None
        with resolve(str(workspace), f"{outside}/missing") as resolved, pytest.raises(NotFoundError):
            resolved.open(os.O_RDONLY)
        with resolve(str(workspace), f"{outside}/loop") as resolved, pytest.raises(DeniedError, match="too many"):
            resolved.open(os.O_RDONLY)

    def test_a_detour_through_what_cannot_be_entered_is_denied_whether_or_not_it_exists(
        self, workspace: Path, way: str
    ) -> None:
        (workspace.parent / "file").write_bytes(b"")
        texts = set()
        for name in ("missing", "file"):
            with pytest.raises(DeniedError) as caught:
                resolve(str(workspace), f"{workspace.parent}/{name}/../secret.txt")
            texts.add(str(caught.value).replace(name, "…"))
        assert len(texts) == 1

    @pytest.mark.skipif(not openat2.HAS_PROC_DESCRIPTORS, reason="needs /proc")
    @pytest.mark.parametrize(
        "path", ["/proc/self/root/etc/passwd", "/proc/self/cwd/x", "/proc/self/exe", "/proc/thread-self/fd/0"]
    )
    def test_links_into_a_process_are_denied(self, workspace: Path, path: str) -> None:
        with pytest.raises(DeniedError, match="link into a process"):
            resolve(str(workspace), path)

    @pytest.mark.skipif(not openat2.HAS_PROC_DESCRIPTORS, reason="needs /proc")
    def test_plain_links_of_proc_are_followed(self, workspace: Path) -> None:
        with resolve(str(workspace), "/proc/self/status") as resolved:
            assert resolved.path == f"/proc/{os.getpid()}/status"
        assert b"Pid:" in content(resolve(str(workspace), "/proc/self/status"))

    def test_a_link_in_the_last_place_is_not_written_through(self, workspace: Path, way: str) -> None:
        link = workspace.parent / "link"
        link.symlink_to("secret.txt")
        with resolve(str(workspace), str(link), must_exist=False) as resolved:
            assert resolved.path == str(link)
            with pytest.raises(DeniedError, match="is a link"):
                resolved.require_file(write=True)


class TestToBeWritten:
    def test_what_is_missing_is_named_and_its_nearest_folder_held(self, workspace: Path, way: str) -> None:
        with resolve(str(workspace), "src/new/deep/x.txt", must_exist=False) as resolved:
            assert resolved.relative == "src/new/deep/x.txt"
            assert resolved.missing_folders == ("new", "deep")
            assert resolved.name == "x.txt"
            assert resolved.status is None
            assert resolved.parent_descriptor is not None
            assert os.path.samestat(os.fstat(resolved.parent_descriptor), (workspace / "src").stat())

    def test_a_link_in_the_last_place_is_denied(self, workspace: Path, way: str) -> None:
        (workspace / "link").symlink_to("a.txt")
        (workspace / "dangling").symlink_to("missing")
        for name in ("link", "dangling"):
            with pytest.raises(DeniedError, match="is a link"):
                resolve(str(workspace), name, must_exist=False)

    def test_a_folder_that_was_moved_is_noticed(self, workspace: Path, way: str) -> None:
        with resolve(str(workspace), "src/x.txt", must_exist=False) as resolved:
            assert resolved.parent_descriptor is not None
            resolved.check_folder(resolved.parent_descriptor)
            (workspace / "src").rename(workspace / "moved")
            (workspace / "src").symlink_to("moved")
            with pytest.raises(CallError, match="was moved"):
                resolved.check_folder(resolved.parent_descriptor)

    def test_going_back_from_what_does_not_exist_is_not_found(self, workspace: Path, way: str) -> None:
        with pytest.raises(NotFoundError, match="detour"):
            resolve(str(workspace), "missing/../x", must_exist=False)


class TestOpen:
    def test_the_file_that_was_decided_about_is_opened_whatever_took_its_name(
        self, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with resolve(str(workspace), "a.txt") as resolved:
            (workspace / "a.txt").rename(workspace / "old.txt")
            (workspace / "a.txt").symlink_to("../secret.txt")
            with os.fdopen(resolved.open(os.O_RDONLY), "rb") as file:
                assert file.read() == b"a"

    def test_without_proc_what_took_the_name_is_refused(self, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(paths, "REOPENS", False)
        monkeypatch.setattr(resolved_module, "REOPENS", False)
        with resolve(str(workspace), "a.txt") as resolved:
            (workspace / "a.txt").rename(workspace / "old.txt")
            (workspace / "a.txt").write_bytes(b"other")
            with pytest.raises(CallError, match="was replaced"):
                resolved.open(os.O_RDONLY)

    def test_what_is_no_regular_file_is_refused_at_once(self, workspace: Path, way: str) -> None:
        os.mkfifo(workspace / "pipe")
        with socket.socket(socket.AF_UNIX) as listener:
            here = Path.cwd()
            os.chdir(workspace)  # a socket's address is short
            try:
                listener.bind("socket")
            finally:
                os.chdir(here)
            for name, kind in {"pipe": "a pipe", "socket": "a socket", "src": "a folder"}.items():
                with resolve(str(workspace), name) as resolved, pytest.raises(CallError, match=kind):
                    resolved.open(os.O_RDONLY)

    def test_a_device_is_refused(self, workspace: Path, way: str) -> None:
        with resolve(str(workspace), "/dev/zero") as resolved, pytest.raises(DeniedError, match="a device"):
            resolved.open(os.O_RDONLY)

    def test_a_file_with_two_hard_links_may_be_read_and_not_written(self, workspace: Path, way: str) -> None:
        (workspace / "hard.txt").hardlink_to(workspace.parent / "secret.txt")
        with resolve(str(workspace), "hard.txt") as resolved:
            os.close(resolved.open(os.O_RDONLY))
            with pytest.raises(DeniedError, match="hard links"):
                resolved.open(os.O_WRONLY)

    @pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
    def test_a_file_closed_to_the_host_says_so(self, workspace: Path) -> None:
        (workspace / "a.txt").chmod(0)
        with resolve(str(workspace), "a.txt") as resolved, pytest.raises(CallError, match="closed to the user"):
            resolved.open(os.O_RDONLY)

    def test_closing_twice_closes_once(self, workspace: Path) -> None:
        resolved = resolve(str(workspace), "a.txt")
        resolved.close()
        resolved.close()


class TestWorkspace:
    def test_a_workspace_that_was_replaced_is_the_new_one(self, workspace: Path) -> None:
        assert content(resolve(str(workspace), "a.txt")) == b"a"
        workspace.rename(workspace.with_name("old"))
        workspace.mkdir()
        (workspace / "a.txt").write_bytes(b"new")
        assert content(resolve(str(workspace), "a.txt")) == b"new"

    def test_a_workspace_that_became_a_link_or_nothing_is_said_to_be_gone(self, workspace: Path) -> None:
        resolve(str(workspace), "a.txt").close()
        workspace.rename(workspace.with_name("old"))
        for make in (lambda: None, lambda: workspace.symlink_to("old")):
            make()
            with pytest.raises(CallError, match="no longer there") as caught:
                resolve(str(workspace), "a.txt")
            assert str(workspace) not in str(caught.value)

    def test_many_workspaces_do_not_keep_many_descriptors(self, tmp_path: Path) -> None:
        before = descriptors()
        for number in range(100):
            (tmp_path / str(number)).mkdir()
            resolve(str(tmp_path / str(number)), ".").close()
        assert descriptors() <= before + 16


NAMES = ["a", "b", "d", "..", ".", "", "in", "up", "out", "deep", "round", "missing", "f"]


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in which links lead everywhere."""
    root = tmp_path_factory.mktemp("maze")
    workspace = root / "ws"
    for folder in ("a/b/d", "b/a", "d"):
        (workspace / folder).mkdir(parents=True)
        (root / "a").mkdir(exist_ok=True)
    for folder in ("", "a", "a/b", "a/b/d", "b", "b/a", "d"):
        (workspace / folder / "f").write_text(folder)
        (workspace / folder / "in").symlink_to("/".join([".."] * folder.count("/") + [".."] * bool(folder)) or ".")
        (workspace / folder / "up").symlink_to("..")
        (workspace / folder / "out").symlink_to("/")
        (workspace / folder / "deep").symlink_to("a/./b//d/..")
        (workspace / folder / "round").symlink_to("in/deep")
    return workspace


@given(parts=st.lists(st.sampled_from(NAMES), max_size=9))
@example(parts=["missing", "..", "deep", "..", ".."])
@settings(max_examples=1500, deadline=None)
def test_what_is_resolved_is_what_the_system_would_open_and_lies_in_the_workspace(maze: Path, parts: list[str]) -> None:
    path = "/".join(parts).lstrip("/") or "."
    real = os.path.realpath(f"{maze}/{path}")
    try:
        with resolve(str(maze), path) as resolved:
            assert resolved.path == real
            assert resolved.status is not None
            assert os.path.samestat(resolved.status, Path(real).stat())
            assert real == str(maze) or real.startswith(f"{maze}/")
    except NotFoundError:
        assert not os.path.exists(f"{maze}/{path}")  # noqa: PTH110 - a Path would drop the last slash
    except DeniedError:
        # On the way it left the workspace, if only for a moment: some beginning of the path leads out of it, or a link does.
        assert _leaves(maze, path)


def _leaves(workspace: Path, path: str) -> bool:
    """Whether following `path` step by step, link by link, is outside at any moment; a second, slower opinion.

    Behind what is missing, or no folder, nobody can go: names there are taken as they stand, links among them too.
    """
    here: list[str] = []
    pending = path.split("/")
    is_lost = False
    for _ in range(10_000):
        if not pending:
            return False
        name = pending.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            if not here:
                return True
            here.pop()
            continue
        at = workspace.joinpath(*here, name)
        if at.is_symlink() and not is_lost:
            target = str(at.readlink())
            if target.startswith("/"):
                return True
            pending = target.split("/") + pending
            continue
        is_lost = is_lost or not at.is_dir()
        here.append(name)
    return True  # too many links


@pytest.mark.parametrize("is_available", [True, False])
def test_no_swap_meanwhile_leads_out_of_the_workspace(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, is_available: bool
) -> None:
    """Somebody exchanges folders and files for links all the time; what is read is never what lies outside."""
    if not is_available:
        monkeypatch.setattr(paths, "is_available", lambda: False)
    outside = workspace.parent
    (outside / "dir").mkdir()
    (outside / "dir" / "file.txt").write_bytes(SECRET)
    (workspace / "dir").mkdir()
    (workspace / "dir" / "file.txt").write_bytes(b"inside")
    (workspace / "dir" / "sub").mkdir()
    (workspace / "dir" / "sub" / "file.txt").write_bytes(b"inside")
    stop = threading.Event()

    def swap() -> None:
        real, link = workspace / "real", workspace / "link"
        for number in itertools.count():
            if stop.is_set():
                return
            link.symlink_to(outside / "dir" if number % 2 else "../dir")
            (workspace / "dir").rename(real)
            link.rename(workspace / "dir")
            (workspace / "dir").rename(link)
            real.rename(workspace / "dir")
            link.unlink()
            # And the folder one has gone into moves out from under `..`.
            (workspace / "dir" / "sub").rename(workspace / "sub")
            (workspace / "sub").rename(workspace / "dir" / "sub")

    swapper = threading.Thread(target=swap)
    swapper.start()
    names = ("dir/file.txt", "dir/sub/file.txt", "dir/sub/../file.txt", "sub/../dir/file.txt", "dir/../dir/file.txt")
    read = refused = 0
    try:
        for path in itertools.islice(itertools.cycle(names), 30_000):
            try:
                with resolve(str(workspace), path) as resolved:
                    assert resolved.relative is not None
                    assert ".." not in resolved.relative
                    descriptor = resolved.open(os.O_RDONLY)
            except CallError:
                refused += 1
                continue
            with os.fdopen(descriptor, "rb") as file:
                assert file.read() == b"inside"
            read += 1
    finally:
        stop.set()
        swapper.join()
    assert read > 100
    assert refused > 100, "the race was never met"


class TestFoldedNames:
    """No file system here folds names, so its answer is given to the function that would ask it."""

    def test_another_spelling_is_named_as_the_folder_lists_it(self, workspace: Path) -> None:
        (workspace / ".git").mkdir()
        descriptor = os.open(workspace, os.O_RDONLY)
        try:
            status = (workspace / ".git").stat()
            for spelling in (".GIT", ".gIt", "GIT~1"):
                assert walking.spelled_on_disk(descriptor, spelling, status) == ".git"
            assert walking.spelled_on_disk(descriptor, ".git", status) == ".git"
        finally:
            os.close(descriptor)

    def test_a_name_the_folder_does_not_list_is_refused(self, workspace: Path) -> None:
        descriptor = os.open(workspace, os.O_RDONLY)
        try:
            with pytest.raises(CallError, match="changed"):
                walking.spelled_on_disk(descriptor, "X", workspace.parent.stat())
        finally:
            os.close(descriptor)

    def test_where_names_are_folded_the_listed_one_is_what_is_decided_about(
        self, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(walking.volumes, "folds_names", lambda descriptor: True)
        real_look = walking._look
        monkeypatch.setattr(walking, "_look", lambda name, folder: real_look(name.lower(), folder))
        with resolve(str(workspace), "SRC/Lib/B.txt") as resolved:
            assert resolved.relative == "src/lib/b.txt"


def test_the_workspace_is_on_a_local_disk_and_what_does_not_exist_is_not(workspace: Path) -> None:
    assert is_local(str(workspace))
    assert not is_local(str(workspace / "missing"))


@pytest.mark.skipif(not openat2.HAS_PROC_DESCRIPTORS, reason="needs /proc")
def test_proc_does_not_count_as_a_local_disk() -> None:
    assert not is_local("/proc")


@pytest.mark.skipif(not openat2.is_available(), reason="needs openat2")
def test_openat2_reports_what_the_kernel_said(workspace: Path) -> None:
    descriptor = os.open(workspace, os.O_PATH)
    try:
        with pytest.raises(OSError, match="cross-device"):
            openat2.openat2(descriptor, b"..", os.O_PATH, openat2.RESOLVE_BENEATH)
        opened = openat2.openat2(descriptor, b"src", os.O_PATH, openat2.RESOLVE_BENEATH)
        assert stat.S_ISDIR(os.fstat(opened).st_mode)
        assert not os.get_inheritable(opened)
        os.close(opened)
    finally:
        os.close(descriptor)
