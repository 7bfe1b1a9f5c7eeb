select
  id as transaction_id,
  order_id,
  transaction_type,
  amount as transaction_amount,
  {{ utc('created_on') }} as transaction_created_on
from {{ deduplicate(source('ol_warehouse_raw_data', 'raw__mitxonline__app__postgres__ecommerce_transaction'), key=['id']) }}
