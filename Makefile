# The course from the command line. `make` lists the targets.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
LESSONS := 0 1 2 3 4
ADVANCED := 5 6 7
export CAPTIONING_REFERENCE_DATA ?=

.PHONY: help course advanced outputs demo lab lint test test-slow clean

help:
	@echo "make course     install, draw the picture book, run lessons $(LESSONS) (copies in build/)"
	@echo "make advanced   the same for lessons $(ADVANCED)"
	@echo "make demo       the web page on this machine"
	@echo "make lab        the notebooks in JupyterLab"
	@echo "make outputs    run the lessons and refresh the saved notebooks"
	@echo "make lint       ruff format and ruff check"
	@echo "make test       what a contributor runs (about twelve minutes on two cores)"
	@echo "make test-slow  the whole lessons at full size"

# The stamps make sure that nothing is installed twice.
$(VENV)/.course: requirements.txt pyproject.toml
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.course pyproject.toml
	$(RUN) -m pip install --quiet --editable ".[test]"
	@touch $@

data/picturebook/info.json: | $(VENV)/.course
	$(RUN) -m captioning data picturebook --output data/picturebook >/dev/null

course: $(VENV)/.course data/picturebook/info.json
	$(RUN) -m captioning.course $(LESSONS)

advanced: $(VENV)/.course data/picturebook/info.json
	$(RUN) -m captioning.course $(ADVANCED)

outputs: $(VENV)/.course data/picturebook/info.json
	$(RUN) -m captioning.course $(LESSONS) $(ADVANCED) --save

demo: $(VENV)/.course
	$(RUN) gradio_main.py

lab: $(VENV)/.course
	$(RUN) -m jupyter lab

lint: $(VENV)/.test
	$(RUN) -m ruff format .
	$(RUN) -m ruff check .

test: $(VENV)/.test
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m pytest -q -m "not slow"

test-slow: $(VENV)/.test data/picturebook/info.json
	$(RUN) -m pytest -q -m slow

clean:
	rm -rf build
