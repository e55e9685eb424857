"""One self-contained HTML page per round: `content` says what it shows, `figures` draws, `page` writes."""
