# make demo                       dcsearch at work on a dozen photographs; the pictures go to demo/
# make demo PHOTOS=~/Pictures     the same on your own photos
# make demo QUERY="a red bus"     with a phrase of your own
# make demo SERVE=1               and at the end the page in the browser, until Ctrl-C
# make screenshots                every page of the demo's photographs, in Chromium; to demo/screenshots/
# make cluster                    PostgreSQL, two servers, a load balancer and Ray on this machine, until Ctrl-C
# make cluster PORT=8001          the same, with the page on another port
# make test                       what a change must pass: ruff, mypy, pytest on all cores
# make coverage                   pytest with the share of lines and branches that it runs
# make clean                      removes both virtual environments and demo/
#
# Each has a virtual environment of its own, made on the first run and brought up to date when
# pyproject.toml changes. Another Python than the first that fits: make demo PYTHON=python3.12

.PHONY: help demo screenshots cluster test coverage clean
export PHOTOS QUERY SERVE

help:
	@sed -n 's/^# \{0,1\}\(make .*\)/\1/p' Makefile

demo: .venv-demo/.installed
	@PATH="$(CURDIR)/.venv-demo/bin:$$PATH" sh examples/demo.sh

screenshots: .venv-test/.installed
	.venv-test/bin/python examples/take_screenshots.py demo/screenshots

cluster: .venv-test/.installed
	@.venv-test/bin/python deploy/cluster.py --port $(or $(PORT),8000)

test: .venv-test/.installed
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy --strict dcsearch indexer cli
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv-test/bin/pytest -n auto --dist loadfile

coverage: .venv-test/.installed
	.venv-test/bin/pytest --cov --cov-report=term

clean:
	rm -rf .venv-demo .venv-test demo

comma := ,
# The stamp is written last, so an interrupted installation is taken up again.
.venv-demo/.installed .venv-test/.installed: .venv-%/.installed: pyproject.toml
	@python=$$(sh .ci/find-python "$(PYTHON)") || exit 1; \
	extra=$(if $(filter test,$*),dev,$*$(comma)web); \
	echo "Installing dcsearch and its $$extra extra into .venv-$* (PyTorch is large; minutes, once)"; \
	if [ -t 1 ]; then quiet=; else quiet=--quiet; fi; \
	"$$python" -m venv .venv-$* && \
	.venv-$*/bin/python -m pip install $$quiet --no-input --disable-pip-version-check \
		--editable ".[$$extra]" && \
	touch $@
