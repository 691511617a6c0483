"""What is known about commands: which of their arguments are hazards (`host_bridge.policy.hazards`), as one table.

It can't be complete: a command it doesn't know has no hazards, so a wildcard after its name means what it says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from host_bridge.policy.hazard_finders import (
    TAR_SHORT,
    assignments,
    date_hazards,
    git_hazards,
    old_style_tar,
    pager_commands,
    ps_hazards,
    starting,
    url_files,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


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
            find=assignments,
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
        find=git_hazards,
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
    "sysctl": Habit(short="wpf", long=_words("write load system"), find=assignments),
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
    "dd": Habit(find=assignments),
    "printf": Habit(short="v"),
    "test": Habit(words=_words("-v -R")),
    # archives and copies
    **dict.fromkeys(
        ("tar", "gtar", "bsdtar"),
        Habit(
            short=TAR_SHORT,
            long=_words(
                "extract get create append update catenate concatenate delete to-command checkpoint-action info-script "
                "use-compress-program new-volume-script rsh-command rmt-command directory absolute-names files-from "
                "index-file listed-incremental volno-file one-top-level transform xform"
            ),
            find=old_style_tar,
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
        find=url_files,
    ),
    "wget": Habit(
        short="OoaieP",
        long=_words(
            "output-document output-file append-output input-file execute use-askpass config directory-prefix post-file "
            "body-file warc-file save-cookies load-cookies rejected-log"
        ),
        find=url_files,
    ),
    "tcpdump": Habit(short="zwrVFG"),
    "ss": Habit(short="KDFN", long=_words("kill diag filter net")),
    "dig": Habit(short="fk"),
    # the machine
    "ps": Habit(find=ps_hazards),
    "date": Habit(find=date_hazards),
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
            find=lambda argv: starting(argv, ("-fplugin", "-specs", "--specs", "@")),
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
            find=lambda argv: starting(
                argv, ("-shell-escape", "--shell-escape", "-output-directory", "-e", "-r", "\\")
            ),
        ),
    ),
    "diff3": Habit(long=_words("diff-program")),
    "sdiff": Habit(short="o", long=_words("output diff-program")),
    "patch": Habit(short="odi", long=_words("output directory input get")),
    "bat": Habit(long=_words("pager"), find=pager_commands),
}
