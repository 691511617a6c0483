"""Which arguments make a command more than it looks: they run another program, write elsewhere, change settings.

`find_hazards` names them by position; an `allow` rule's wildcard doesn't reach them (`host_bridge.policy.words`). The
table can't be complete: a command it doesn't know has no hazards, so a wildcard after its name means what it says.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclasses.dataclass(frozen=True, slots=True)
class Hazards:
    """What a wildcard must not stand for.

    Attributes:
        indices: Positions in the argument vector.
        whole: No wildcard at all may stand in a rule for this command.
    """

    indices: tuple[int, ...] = ()
    whole: bool = False


NONE = Hazards()
WHOLE = Hazards(whole=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Habit:
    """What is known about one command.

    Attributes:
        wraps: It runs its arguments, or works on the shell itself: every word counts.
        first_operand: Its first operand says what it runs or does (a script, a subcommand, a target), so that one and the
            options before it count.
        runs: That operand is a program or code.
        short: Letters of hazardous options, alone or in a cluster.
        long: Names of hazardous long options; abbreviations count.
        words: Further hazardous arguments, exactly.
        values: Options before the operand that take the next word as their value.
        operands: From this operand on (counted from 0), operands are hazards: the file to write.
        inside: Arguments that lead out of the working directory are hazards.
        rooted: It takes settings that run programs from the folder it runs in, whoever made that folder.
        find: Anything else: gives the positions.
    """

    wraps: bool = False
    first_operand: bool = False
    runs: bool = False
    short: str = ""
    long: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    operands: int | None = None
    inside: bool = False
    rooted: bool = False
    find: Callable[[Sequence[str]], tuple[int, ...]] | None = None


def find_hazards(argv: Sequence[str]) -> Hazards:
    """Give the hazardous arguments of a command."""
    habit = _habit(argv[0])
    if habit is None:
        return NONE
    if habit.wraps:
        return WHOLE
    indices = {index for index in range(1, len(argv)) if _is_hazard(habit, argv[index])}
    if habit.first_operand:
        operand = _first_operand(argv, habit)
        if operand is None:
            # `git --version` is harmless, `python` alone runs what it is fed.
            return WHOLE if habit.runs or len(argv) == 1 else Hazards(tuple(range(1, len(argv))))
        indices.update(range(1, operand + 1))
    if habit.operands is not None:
        indices.update(_operands(argv)[habit.operands :])
    if habit.find is not None:
        indices.update(habit.find(argv))
    return Hazards(tuple(sorted(indices))) if indices else NONE


def runs_its_arguments(argv: Sequence[str]) -> bool:
    """Whether the command runs, or may run, what its arguments say."""
    habit = _habit(argv[0])
    return habit is not None and (habit.wraps or habit.runs)


def is_known(command: str) -> bool:
    """Whether anything is known about the command; an unknown one has no hazards, whatever its arguments."""
    return _habit(command) is not None


def depends_on_folder(argv: Sequence[str]) -> bool:
    """Whether the folder the command runs in says what it runs."""
    habit = _habit(argv[0])
    return habit is not None and habit.rooted


def _habit(command: str) -> Habit | None:
    name = command.rsplit("/", 1)[-1].lower().removesuffix(".exe")
    habit = HABITS.get(name)
    # python3.11, perl5.36.0, pip3, gcc-12
    return habit if habit is not None else HABITS.get(name.rstrip("0123456789.-"))


def _is_hazard(habit: Habit, argument: str) -> bool:
    if argument in habit.words:
        return True
    if habit.inside and _leads_out(argument):
        return True
    if argument.startswith("--"):
        name = argument[2:].partition("=")[0]
        return bool(name) and any(option.startswith(name) for option in habit.long)
    if argument.startswith("-"):
        return any(letter in habit.short for letter in argument[1:])
    return False


def _leads_out(argument: str) -> bool:
    value = argument.partition("=")[2] or argument
    return value.startswith(("/", "~")) or ".." in value.split("/")


def _first_operand(argv: Sequence[str], habit: Habit) -> int | None:
    index = 1
    while index < len(argv):
        if argv[index] in habit.values:
            index += 2
        elif argv[index].startswith("-") and argv[index] != "-":
            index += 1
        else:
            return index
    return None


def _operands(argv: Sequence[str]) -> list[int]:
    return [index for index in range(1, len(argv)) if not argv[index].startswith("-") or argv[index] == "-"]


# what needs more than a list --------------------------------------------------------------------------------------------

# ps shows the environment of processes for a BSD-style `e`, and falls back to reading `-eu` that way, so what is harmless
# is listed instead of what isn't.
_PS_HARMLESS = re.compile(
    r"a?u?xw{0,3}|-(?:e|ef|eF|el|elf|eL|eLf|A|f|l|H|L|T|ejH|w{1,3})|-{1,2}?(?:eo|Ao|axo|o)|axo|o"
    r"|--(?:no-headers|no-heading|forest|headers|version|help)|--sort=[a-z0-9%_,+-]+|-[pC]|--(?:pid|ppid|sort)"
)
_PS_VALUE = re.compile(r"(?!.*env)[-+A-Za-z0-9%_,.:=]+", re.IGNORECASE)
_PS_TAKE_A_VALUE = frozenset({"-eo", "-Ao", "-axo", "axo", "-o", "o", "-p", "-C", "--pid", "--ppid", "--sort"})


def _ps(argv: Sequence[str]) -> tuple[int, ...]:
    hazards = []
    value_is_due = False
    for index, argument in enumerate(argv[1:], start=1):
        if not (_PS_VALUE if value_is_due else _PS_HARMLESS).fullmatch(argument):
            hazards.append(index)
        value_is_due = not value_is_due and argument in _PS_TAKE_A_VALUE
    return tuple(hazards)


_DATE_HARMLESS = re.compile(
    r"\+.*|-[uR]*(?:[Id].*)?|--(?:date|iso-8601|rfc-3339)(?:=.*)?|--(?:utc|universal|help)", re.DOTALL
)


def _date(argv: Sequence[str]) -> tuple[int, ...]:
    # `date MMDDhhmm` sets the clock. An operand is harmless as a format or as the value of -d.
    return tuple(
        index
        for index in range(1, len(argv))
        if not _DATE_HARMLESS.fullmatch(argv[index])
        and (argv[index].startswith("-") or argv[index - 1] not in ("-d", "-ud", "--date"))
    )


_GIT_RUNS = _words(
    "config filter-branch difftool mergetool daemon credential send-email instaweb web--browse help gui gitk citool "
    "cvsserver shell upload-pack receive-pack hook maintenance fast-import"
)
_GIT_UNTRACKED = frozenset(("-uno", "-unormal"))


def _git(argv: Sequence[str]) -> tuple[int, ...]:
    if not _GIT_RUNS.isdisjoint(argv[1:]):
        return tuple(range(1, len(argv)))
    return tuple(
        index
        for index in range(1, len(argv))
        if argv[index] in ("foreach", "run")
        or re.match(r"[A-Za-z0-9+.-]*::", argv[index])  # a transport helper: ext::sh -c …
        or (re.match(r"-[^-]*[cCoOx]", argv[index]) and argv[index] not in _GIT_UNTRACKED)
    )


def _assignments(argv: Sequence[str]) -> tuple[int, ...]:
    return tuple(index for index in range(1, len(argv)) if "=" in argv[index] and not argv[index].startswith("-"))


def _old_style_tar(argv: Sequence[str]) -> tuple[int, ...]:
    letters = argv[1] if len(argv) > 1 and not argv[1].startswith("-") else ""
    return (1,) if any(letter in _TAR_SHORT for letter in letters) else ()


def _url_files(argv: Sequence[str]) -> tuple[int, ...]:
    return tuple(
        index
        for index in range(1, len(argv))
        if re.match(r"@|(?!https?:)[a-z][a-z0-9+.-]*:", argv[index], re.IGNORECASE)
    )


def _pager_commands(argv: Sequence[str]) -> tuple[int, ...]:
    return tuple(index for index in range(1, len(argv)) if argv[index].startswith("+"))


_TAR_SHORT = "xcruAIFCPTgVK"

# the table ----------------------------------------------------------------------------------------------------------------


_WRAPS = Habit(wraps=True)
_SUBCOMMANDS = Habit(first_operand=True)
_INTERPRETER = Habit(first_operand=True, runs=True)

_WRAPPERS = """
    env xargs gxargs timeout gtimeout nice ionice nohup setsid stdbuf chrt taskset numactl time sudo doas su runuser pkexec
    ssh mosh sshpass watch parallel script expect unbuffer busybox toybox chroot unshare nsenter setpriv setarch linux32
    linux64 systemd-run systemd-nspawn at batch crontab flock strace ltrace gdb lldb perf valgrind entr firejail bwrap proot
    fakeroot faketime cgexec rlwrap dbus-run-session xvfb-run torify torsocks proxychains caffeinate start-stop-daemon
    run-parts tmux screen dtach nc ncat netcat socat telnet
    vi vim nvim view vimdiff ex ed red emacs nano pico micro less more most man info
    sqlite3 psql mysql mariadb mongosh redis-cli dc m4 gpg nix-shell ftp lftp cpio hermes-runtime
    eval exec source . command builtin trap coproc hash export declare typeset local readonly unset set shopt enable alias
    unalias bind complete compgen mapfile readarray read getopts let umask ulimit wait jobs fg bg disown cd pushd popd suspend
    return exit logout fc history
"""

_INTERPRETERS = """
    ash dash ksh mksh fish csh tcsh pwsh powershell nu xonsh elvish pypy pythonw ipython irb deno bun tsx ts-node lua luajit
    tclsh wish r rscript julia java jshell groovy scala kotlin guile racket sbcl clisp ghci runghc runhaskell erl elixir iex
    escript swift osascript octave
    gmake bmake ninja ctest just rake invoke fab tox nox ant gradle mvn sbt lein bazel scons meson npx pnpx bunx uvx pipx
"""

_WITH_SUBCOMMANDS = """
    npm pnpm yarn pip uv poetry hatch pdm conda mamba cargo go rustup gem bundle composer dotnet stack cabal brew apt apt-get
    dpkg yum dnf apk pacman snap flatpak nix podman nerdctl docker-compose helm oc lxc machinectl vagrant virsh ansible
    ansible-playbook terraform pulumi gcloud aws az gh glab hub svn hg bzr jj fossil service loginctl hostnamectl timedatectl
    nmcli tc jupyter supervisorctl initctl rc-service
"""

_GIT_OPTIONS = (
    "output output-directory ext-diff textconv no-index upload-pack receive-pack exec config config-env template exec-path "
    "git-dir work-tree namespace super-prefix open-files-in-pager extcmd tool contents attr-source show-signature filters "
    "edit interactive strategy gpg-sign paginate separate-git-dir reference local-user file batch-command sign"
)

HABITS: dict[str, Habit] = {
    **dict.fromkeys(_WRAPPERS.split(), _WRAPS),
    **dict.fromkeys(_INTERPRETERS.split(), _INTERPRETER),
    **dict.fromkeys(_WITH_SUBCOMMANDS.split(), _SUBCOMMANDS),
    # interpreters whose options before the script take values
    **dict.fromkeys(
        ("sh", "bash", "zsh", "rbash"),
        Habit(first_operand=True, runs=True, values=_words("-o +o -O +O --rcfile --init-file")),
    ),
    "python": Habit(first_operand=True, runs=True, values=_words("-W -X -Q --check-hash-based-pycs")),
    "perl": Habit(first_operand=True, runs=True, values=_words("-I")),
    "ruby": Habit(first_operand=True, runs=True, values=_words("-I -r -C -E")),
    **dict.fromkeys(
        ("node", "nodejs"),
        Habit(
            first_operand=True, runs=True, values=_words("-r --require --import --loader -C --conditions --env-file")
        ),
    ),
    "php": Habit(first_operand=True, runs=True, values=_words("-c -d -z")),
    **dict.fromkeys(
        ("make", "cmake"),
        Habit(
            first_operand=True,
            runs=True,
            short="fCIEWPD",
            long=_words("file makefile directory include-dir eval build"),
            values=_words("-f -C -I -o -W -j -l"),
            find=_assignments,
        ),
    ),
    # their script is a language that can run commands and write files; it may also come with an option, anywhere
    **dict.fromkeys(
        ("sed", "gsed"),
        Habit(first_operand=True, runs=True, short="efi", long=_words("expression file in-place"), values=_words("-l")),
    ),
    **dict.fromkeys(
        ("awk", "gawk", "mawk", "nawk"),
        Habit(
            first_operand=True,
            runs=True,
            short="efilEopdDW",
            long=_words("source file include load exec pretty-print profile dump-variables debug"),
            values=_words("-F -v"),
        ),
    ),
    # tools with subcommands and traps of their own
    "git": Habit(
        first_operand=True,
        long=_words(_GIT_OPTIONS),
        values=_words("-c -C --git-dir --work-tree --namespace --exec-path --config-env"),
        inside=True,
        rooted=True,
        find=_git,
    ),
    "docker": Habit(first_operand=True, values=_words("-H --host -c --context --config -l --log-level")),
    "kubectl": Habit(
        first_operand=True, long=_words("kubeconfig server token"), values=_words("-n --namespace --context")
    ),
    "systemctl": Habit(first_operand=True, short="HM", long=_words("host machine root image")),
    "ip": Habit(
        first_operand=True, short="b", words=_words("exec netns batch add del delete set replace change flush")
    ),
    "openssl": Habit(
        first_operand=True, words=_words("-out -engine -provider -provider-path -config -writerand -keyout")
    ),
    "sysctl": Habit(short="wpf", long=_words("write load system"), find=_assignments),
    # searching
    "find": Habit(
        words=_words("-exec -execdir -ok -okdir -delete -fprint -fprint0 -fprintf -fls -files0-from"),
    ),
    **dict.fromkeys(("fd", "fdfind"), Habit(short="xX", long=_words("exec exec-batch"))),
    **dict.fromkeys(("rg", "rga"), Habit(short="z", long=_words("pre pre-glob hostname-bin search-zip"))),
    "ag": Habit(long=_words("pager")),
    # sorting, cutting, counting
    "sort": Habit(short="oT", long=_words("output compress-program temporary-directory files0-from")),
    "uniq": Habit(operands=1),
    "shuf": Habit(short="o", long=_words("output")),
    "split": Habit(long=_words("filter")),
    "wc": Habit(long=_words("files0-from")),
    "du": Habit(short="X", long=_words("files0-from exclude-from")),
    "tree": Habit(short="o", long=_words("fromfile")),
    "xxd": Habit(short="r", operands=1),
    "file": Habit(short="mCf", long=_words("magic-file compile files-from")),
    "dd": Habit(find=_assignments),
    "printf": Habit(short="v"),
    "test": Habit(words=_words("-v -R")),
    # archives and copies
    **dict.fromkeys(
        ("tar", "gtar", "bsdtar"),
        Habit(
            short=_TAR_SHORT,
            long=_words(
                "extract get create append update catenate concatenate delete to-command checkpoint-action info-script "
                "use-compress-program new-volume-script rsh-command rmt-command directory absolute-names files-from "
                "index-file listed-incremental volno-file one-top-level transform xform"
            ),
            find=_old_style_tar,
        ),
    ),
    "zip": Habit(short="T", long=_words("unzip-command test")),
    "unzip": Habit(short=":d^"),
    "rsync": Habit(
        short="eT",
        long=_words(
            "rsh rsync-path daemon config write-batch only-write-batch read-batch log-file temp-dir backup-dir partial-dir "
            "files-from password-file early-input remote-option"
        ),
    ),
    **dict.fromkeys(("scp", "sftp"), Habit(short="SoFDJi")),
    "install": Habit(long=_words("strip-program")),
    # the network
    "curl": Habit(
        short="oOJKTFDcEwxdQn",
        long=_words(
            "output output-dir remote-name remote-header-name config upload-file form data json url-query dump-header "
            "cookie-jar trace trace-ascii stderr cert key engine netrc proxy preproxy resolve connect-to unix-socket "
            "abstract-unix-socket libcurl hsts alt-svc etag-save write-out quote cacert capath proto variable expand "
            "socks4 socks5 doh-url dns-servers ssl-sessions"
        ),
        find=_url_files,
    ),
    "wget": Habit(
        short="OoaieP",
        long=_words(
            "output-document output-file append-output input-file execute use-askpass config directory-prefix post-file "
            "body-file warc-file save-cookies load-cookies rejected-log"
        ),
        find=_url_files,
    ),
    "tcpdump": Habit(short="zwrVFG"),
    "ss": Habit(short="KDFN", long=_words("kill diag filter net")),
    "dig": Habit(short="fk"),
    # the machine
    "ps": Habit(find=_ps),
    "date": Habit(find=_date),
    "hostname": Habit(short="Fb", long=_words("file boot"), operands=0),
    "dmesg": Habit(
        short="CcDEnFKw",
        long=_words("clear read-clear console-off console-on console-level file kmsg-file follow"),
    ),
    "journalctl": Habit(
        short="DMfi",
        long=_words(
            "vacuum-size vacuum-time vacuum-files rotate flush sync relinquish-var smart-relinquish-var setup-keys "
            "update-catalog directory file root image cursor-file machine follow namespace"
        ),
    ),
    "uptime": Habit(operands=0),
    "who": Habit(operands=0),
    "last": Habit(short="f", long=_words("file")),
    "sensors": Habit(short="sc", long=_words("set config-file")),
    "nvidia-smi": Habit(short="fr", long=_words("filename gpu-reset"), first_operand=False, operands=0),
    # development
    **dict.fromkeys(
        ("pytest", "py.test"),
        Habit(
            short="pco",
            long=_words(
                "rootdir confcutdir basetemp junitxml junit-xml pastebin pdbcls override-ini config-file log-file "
                "import-mode debug"
            ),
        ),
    ),
    **dict.fromkeys(
        ("gcc", "g++", "cc", "c++", "clang", "clang++"),
        Habit(
            short="oB",
            words=_words("-wrapper"),
            find=lambda argv: _starting(argv, ("-fplugin", "-specs", "--specs", "@")),
        ),
    ),
    "pandoc": Habit(
        short="oFLd",
        long=_words("output filter lua-filter pdf-engine pdf-engine-opt extract-media data-dir defaults log"),
    ),
    **dict.fromkeys(
        ("pdflatex", "xelatex", "lualatex", "latex", "tex", "latexmk"),
        Habit(
            first_operand=True,
            runs=True,
            find=lambda argv: _starting(
                argv, ("-shell-escape", "--shell-escape", "-output-directory", "-e", "-r", "\\")
            ),
        ),
    ),
    "diff3": Habit(long=_words("diff-program")),
    "sdiff": Habit(short="o", long=_words("output diff-program")),
    "patch": Habit(short="odi", long=_words("output directory input get")),
    "bat": Habit(long=_words("pager"), find=_pager_commands),
}


def _starting(argv: Sequence[str], prefixes: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(index for index in range(1, len(argv)) if argv[index].startswith(prefixes))
