"""Trains M2 on images of which a few have labels, beside a classifier of these few alone.

python -m experiments.semi_supervised                             # digits, 100 labels, no download
python -m experiments.semi_supervised --num-labels 10 --label-seed 1 --run-dir runs/ten_labels
"""

from experiments.course import main
from experiments.semi_supervised import EXPERIMENT

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
