#!/bin/sh
# Indexes a folder of photos, asks it some phrases, and says where the answers are.
#
#   examples/demo.sh                               photographs that come with scikit-image and scikit-learn
#   PHOTOS=~/Pictures examples/demo.sh             your own photos
#   QUERY="a dog on a beach" examples/demo.sh      a phrase of your own
#   SERVE=1 examples/demo.sh                       and then the page in the browser, until Ctrl-C
#
# Everything it writes is below ./demo; your photos are only read. It needs `dcsearch` on the PATH
# and, without PHOTOS, a python3 that has the demo extra; `make demo` sees to both.
set -eu

# Prints a command the way it can be typed again, then runs it.
show() {
    printf '\n$'
    for word; do
        case $word in
            *[!A-Za-z0-9_./:=,+-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}

mkdir -p demo
case ${PHOTOS:-} in
    "")
        photos=demo/photos
        database=demo/index.db
        echo "Photographs for the demo:"
        python3 "$(dirname "$0")/demo_photos.py" "$photos"
        set -- "a cat" "an orange suit" "a red shirt"
        ;;
    *)
        # A shell leaves the tilde of make's PHOTOS=~/Pictures alone unless it is bash.
        case $PHOTOS in
            "~") photos=$HOME ;;
            "~/"*) photos=$HOME/${PHOTOS#"~/"} ;;
            *) photos=$PHOTOS ;;
        esac
        database=demo/your-photos.db
        set -- "a woman with a smile" "a dog" "a red car"
        ;;
esac
if [ -n "${QUERY:-}" ]; then
    set -- "$QUERY"
fi

# 3: an index that an earlier version's weights made, which is made again.
# 5: everything is indexed but some photos could not be read; they are listed, and the demo goes on.
status=0
show dcsearch index "$photos" --db "$database" || status=$?
if [ "$status" -eq 3 ]; then
    status=0
    show dcsearch index "$photos" --db "$database" --force || status=$?
fi
if [ "$status" -ne 0 ] && [ "$status" -ne 5 ]; then
    exit "$status"
fi

found=
for phrase; do
    name=$(printf '%s' "$phrase" | tr -cs 'A-Za-z0-9' '-')
    answer=demo/answers/$name
    mkdir -p demo/answers
    rm -rf "$answer" "$answer.png"
    # 1: nothing was found; the other phrases may still find something.
    status=0
    show dcsearch query "$phrase" --db "$database" --top 3 \
        --save "$answer" --sheet "$answer.png" || status=$?
    case $status in
        0) found="$found
  $answer.png   the answers to \"$phrase\" on one sheet
  $answer/   its photos, with the box drawn" ;;
        1) ;;
        *) exit "$status" ;;
    esac
done

if [ -z "$found" ]; then
    printf '\nNothing was found; ask something else with: make demo QUERY="a dog"\n'
    exit 1
fi
printf '\nLook at:%s\n' "$found"
printf '\nAsk your own:\n  %s query "a white cup" --db %s\n' "$(command -v dcsearch)" "$database"
printf '\nOr in the browser:\n  %s serve --db %s --open\n' "$(command -v dcsearch)" "$database"
if [ -n "${SERVE:-}" ]; then
    show dcsearch serve --db "$database" --open
fi
