"""What a fine-tuning prints of the trainer's rows."""

from __future__ import annotations

from medreason_dist.training.console import Lines

BEGUN = {"step": 0, "max_steps": 300, "epochs": 3, "rows": 1600, "rows_a_step": 16}


def test_a_fine_tuning_says_how_much_there_is_to_do_and_whether_it_resumes() -> None:
    assert Lines().format(BEGUN) == "starts · 300 steps, 3 epochs · 1,600 packed rows, 16 a step"
    assert str(Lines().format({**BEGUN, "step": 150})).startswith("resumes at step 150 · 300 steps")


def test_rows_become_lines_and_what_says_nothing_new_is_left_out() -> None:
    lines = Lines()
    lines.format({**BEGUN, "step": 150})
    training = lines.format({"step": 160, "loss": 1.25, "learning_rate": 4e-6, "grad_norm": 1.0})
    assert training == "step 160/300 · loss 1.2500 · learning rate 4.00e-06"
    assert lines.format({"step": 160, "eval_loss": 1.125}) == "step 160/300 · held-out loss 1.1250"
    assert "step 170/300 · loss 1.0000 · learning rate 4.00e-06 · ETA " in str(
        lines.format({"step": 170, "loss": 1.0, "learning_rate": 4e-6})
    )
    assert lines.format({"step": 300, "train_runtime": 12.0}) is None
