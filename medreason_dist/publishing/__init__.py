"""From a finished run to a dataset that others load: accepted rows in splits, chats, and a card.

    source.py     which run may be published, and its traces
    rows.py       a trace as a row, and the split that it belongs to
    chat.py       a trace as a conversation
    summary.py    what the card counts
    card.py       README.md
    dataset.py    the folder, written whole
    published.py  a published dataset as its readers open it

Reads a run's folder as any other reader does; knows nothing of how a run is made.
"""
