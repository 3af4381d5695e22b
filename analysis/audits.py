"""Audits among the runs of an experiment."""

import pandas as pd

WRONG, LEAKS = "audit/wrong_labels", "audit/test_with_twin"


def audits_of(frame: pd.DataFrame) -> dict[str, str]:
    """Return the run of the latest finished audit of each dataset digest; keys are sentences on what it found.

    Args:
        frame: Runs, newest first, as ``runs.load_runs`` returns them.
    """
    audits = frame[(frame["stage"] == "audit") & (frame["status"] == "FINISHED")]
    found: dict[str, str] = {}
    for _, row in audits.drop_duplicates("dataset_digest").iterrows():
        if WRONG not in row or pd.isna(row[WRONG]):
            continue
        low, high = row[f"{WRONG}_ci_low"], row[f"{WRONG}_ci_high"]
        text = (
            f"Audit of {row['dataset']} {str(row['dataset_digest'])[:8]}: about {row[WRONG]:,.0f} wrong labels "
            f"({low:,.0f} to {high:,.0f}), {row[LEAKS]:,.0f} test images with a near-duplicate in train"
        )
        found[text] = str(row["run_id"])
    return found
