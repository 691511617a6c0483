"""The web, read in processes of its own.

Pages are hostile, large and slow to convert, and a look-up can hang; so the session process, which holds authority, neither
parses nor waits for them. It sends jobs to a worker process, decides about each redirect itself, and kills the worker when the
call is over.

    web_search, web_extract, http_request -> journeys, letters, workers (session side)
      -> jobs -> worker (its own process) -> talk, fetch, pages, providers
"""
